#!/usr/bin/env python3
"""Draws docs/performance.svg from the lines of `verbatim-bench bars --json`.

    verbatim-bench bars … --json > bars.jsonl
    python3 host-bench/plot.py bars.jsonl docs/performance.svg

Needs nothing but Python. Two charts: how many times a peer's speed, and which share of the machine's limit, both
measured in the run whose first line is the title.
"""
import json
import sys
from xml.sax.saxutils import escape

ROW, BAR, LEFT, WIDTH, RIGHT = 22, 14, 330, 520, 70
INK, SOFT, FILL, MARK = "#1b1f24", "#6e7781", "#3a7ca5", "#c8553d"


def chart(out, top, title, rows, unit, mark):
    """One group of horizontal bars; `mark` is the value of the red line (a peer, or the limit)."""
    out.append(f'<text x="16" y="{top}" font-weight="600" fill="{INK}">{escape(title)}</text>')
    top += 14
    scale = WIDTH / max(mark * 1.05, *(value for _, value in rows))
    for i, (name, value) in enumerate(rows):
        y = top + i * ROW
        out.append(f'<text x="{LEFT - 10}" y="{y + BAR - 3}" text-anchor="end" fill="{INK}">{escape(name)}</text>')
        out.append(f'<rect x="{LEFT}" y="{y}" width="{value * scale:.1f}" height="{BAR}" rx="2" fill="{FILL}"/>')
        out.append(f'<text x="{LEFT + value * scale + 6:.1f}" y="{y + BAR - 3}" fill="{SOFT}">{value:.2f}{unit}</text>')
    bottom = top + len(rows) * ROW
    x = LEFT + mark * scale
    out.append(f'<line x1="{x:.1f}" y1="{top - 4}" x2="{x:.1f}" y2="{bottom - 4}" stroke="{MARK}" stroke-width="1.5"/>')
    return bottom + 24


def main(source, target):
    lines = [json.loads(line) for line in open(source, encoding="utf-8") if line.strip()]
    machine, cases = lines[0], [line for line in lines if line.get("value") is not None]
    peers = [(line["case"].replace(": against", ", against"), line["value"]) for line in cases if "against llama.cpp" in line["case"]]
    shares = [(line["case"].replace(": share of", ", of"), line["value"]) for line in cases if ": share of read" in line["case"] or ": share of peak" in line["case"]]
    body = []
    height = 52
    title = f'{machine["cpu"]}, {machine["isa"]}, {machine["workers"]} workers, TinyLlama-1.1B’s shape, commit {machine["commit"]}'
    if peers:
        height = chart(body, height, "Speed as a multiple of llama.cpp’s (red: llama.cpp)", peers, "×", 1.0)
    if shares:
        height = chart(body, height + 6, "Share of the machine’s own limit (red: the limit)", shares, "", 1.0)
    width = LEFT + WIDTH + RIGHT
    with open(target, "w", encoding="utf-8") as svg:
        svg.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="12">\n')
        svg.write(f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n<text x="16" y="24" fill="{SOFT}">{escape(title)}</text>\n')
        svg.write("\n".join(body) + "\n</svg>\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
