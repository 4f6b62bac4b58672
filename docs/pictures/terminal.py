"""Records a program in a terminal and draws it as one SVG that moves, without a script in it.

    python3 docs/pictures/terminal.py target/release/verbatim docs/pictures/terminal.svg

It needs tmux. A shell in a terminal of its own gets the lines of SCENE, typed; what the screen shows is taken each time it
changes. The frames lie in a strip, which the picture moves past a window. Rows that are the same are drawn once. Who asks
for less motion sees the last frame.
"""

import html
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unicodedata

COLUMNS, ROWS = 84, 23
CELL, LINE, MARGIN = 8.43, 19, 14
# Seconds: that the last frame stays, that a key takes, that the screen is quiet when an answer is over, for all of a scene.
LAST, KEY, QUIET, LIMIT = 5.0, 0.045, 1.2, 180.0
# What is typed, each line when the screen has become quiet.
SCENE = [
    "verbatim chat --seed 7",
    "What is the capital of France?",
    "Tell me a story.",
    "/regenerate",
    "/stats",
]
BACKGROUND, FOREGROUND = "#16181d", "#d7dae0"
PALETTE = ["#3a3f4b", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#c8ccd4",
           "#6b7280", "#ff8a93", "#b5e08f", "#ffd78a", "#8cc8ff", "#dd9bf0", "#7fd6df", "#ffffff"]


class Terminal:
    """A shell in a tmux of its own."""

    def __init__(self, program, folder):
        self.name = f"picture-{os.getpid()}"
        environment = {
            "HOME": folder, "PATH": f"{program.parent}:/usr/bin:/bin", "LANG": "C.UTF-8", "TERM": "xterm-256color",
        }
        configuration = pathlib.Path(folder, "tmux.conf")
        configuration.write_text("set -g status off\nset -g default-terminal tmux-256color\nset -g escape-time 0\n")
        shell = pathlib.Path(folder, "bashrc")
        shell.write_text("PS1='$ '\n")
        subprocess.run(
            ["tmux", "-L", self.name, "-f", configuration, "new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS),
             f"bash --noprofile --rcfile {shell}"],
            env=environment, check=True)

    def tmux(self, *words):
        return subprocess.run(["tmux", "-L", self.name, *words], check=True, capture_output=True, text=True).stdout

    def screen(self):
        """The rows with their colours, and where the cursor is."""
        lines = self.tmux("capture-pane", "-e", "-p", ";", "display-message", "-p", "#{cursor_x} #{cursor_y} #{cursor_flag}")
        *rows, cursor, _ = lines.split("\n")
        x, y, shown = cursor.split()
        return tuple(rows), (int(x), int(y)) if shown == "1" else None

    def type(self, text):
        self.tmux("send-keys", "-l", text)

    def end(self):
        subprocess.run(["tmux", "-L", self.name, "kill-server"], check=False)


def record(program):
    """The screens in the order in which they came, each with the seconds that it stood."""
    frames = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        terminal = Terminal(program, folder)
        begun = time.monotonic()

        def look(seconds):
            """Takes what is to be seen until nothing has changed for so long."""
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                if time.monotonic() - begun > LIMIT:
                    raise TimeoutError("the scene takes too long")
                now, screen = time.monotonic(), terminal.screen()
                if not frames or frames[-1][1] != screen:
                    frames.append((now, screen))
                    until = max(until, now + seconds)
                time.sleep(0.04)

        try:
            look(0.6)
            for line in SCENE:
                for key in line:
                    terminal.type(key)
                    look(KEY)
                terminal.tmux("send-keys", "Enter")
                look(QUIET)
        finally:
            terminal.end()
    times = [at for at, _ in frames] + [frames[-1][0] + LAST]
    return [(min(after - at, LAST), screen) for (at, screen), after in zip(frames, times[1:])]


def colour(codes, default):
    """The colour of the rest of an SGR sequence behind 38 or 48, and how many codes it took."""
    if codes[:1] == [5] and len(codes) > 1:
        n = codes[1]
        if n < 16:
            return PALETTE[n], 2
        if n >= 232:
            grey = 8 + (n - 232) * 10
            return f"#{grey:02x}{grey:02x}{grey:02x}", 2
        levels = [0, 95, 135, 175, 215, 255]
        n -= 16
        return "#%02x%02x%02x" % (levels[n // 36], levels[n // 6 % 6], levels[n % 6]), 2
    if codes[:1] == [2] and len(codes) > 3:
        return "#%02x%02x%02x" % tuple(codes[1:4]), 4
    return default, len(codes)


class Style:
    """How a cell is drawn."""

    def __init__(self):
        self.fore, self.back, self.bold, self.dim, self.italic, self.under, self.turned = None, None, *[False] * 5

    def apply(self, codes):
        codes = codes or [0]
        while codes:
            code, *codes = codes
            if code == 0:
                self.__init__()
            elif code in (38, 48):
                found, taken = colour(codes, None)
                codes = codes[taken:]
                if code == 38:
                    self.fore = found
                else:
                    self.back = found
            elif code in (22, 23, 24, 27):
                for name in {22: ("bold", "dim"), 23: ("italic",), 24: ("under",), 27: ("turned",)}[code]:
                    setattr(self, name, False)
            elif code in (1, 2, 3, 4, 7):
                setattr(self, {1: "bold", 2: "dim", 3: "italic", 4: "under", 7: "turned"}[code], True)
            elif 30 <= code <= 37 or 90 <= code <= 97:
                self.fore = PALETTE[code - 30 if code < 40 else code - 82]
            elif 40 <= code <= 47 or 100 <= code <= 107:
                self.back = PALETTE[code - 40 if code < 50 else code - 92]
            elif code == 39:
                self.fore = None
            elif code == 49:
                self.back = None

    def attributes(self):
        fore, back = self.fore, self.back
        if self.turned:
            fore, back = back or BACKGROUND, fore or FOREGROUND
        text = f' fill="{fore}"' if fore else ""
        text += ' font-weight="bold"' if self.bold else ""
        text += ' font-style="italic"' if self.italic else ""
        text += ' text-decoration="underline"' if self.under else ""
        text += ' opacity=".6"' if self.dim else ""
        return text, back


def width(text):
    """Columns that a text takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def drawn(row):
    """A row with escape sequences as SVG, at height 0."""
    style, x, parts = Style(), 0, []
    for text, codes in re.findall(r"([^\x1b]+)|\x1b\[([\d;]*)m", row):
        if not text:
            style.apply([int(code or 0) for code in codes.split(";")])
            continue
        columns = width(text)
        attributes, back = style.attributes()
        at, wide = f"{x * CELL:.1f}", f"{columns * CELL:.1f}"
        if back:
            parts.append(f'<rect x="{at}" y="-14" width="{wide}" height="{LINE}" fill="{back}"/>')
        if text.strip():
            parts.append(f'<text x="{at}" textLength="{wide}"{attributes}>{html.escape(text)}</text>')
        x += columns
    return "".join(parts)


def strip(frames):
    """The SVG of all frames."""
    rows, strips, stops, at = {}, [], [], 0.0
    total = sum(seconds for seconds, _ in frames)
    window = ROWS * LINE
    for number, (seconds, (screen, cursor)) in enumerate(frames):
        stops.append(f"{at / total * 100:.2f}%{{transform:translateY(-{number * window}px)}}")
        at += seconds
        for line, row in enumerate(screen):
            picture = drawn(row)
            if picture:
                name = rows.setdefault(picture, f"r{len(rows)}")
                strips.append(f'<use href="#{name}" y="{number * window + line * LINE + 14}"/>')
        if cursor:
            x, y = cursor[0] * CELL, number * window + cursor[1] * LINE
            strips.append(f'<rect class="c" x="{x:.1f}" y="{y}" width="{CELL}" height="{LINE - 2}"/>')
    wide, high = COLUMNS * CELL + 2 * MARGIN, window + 2 * MARGIN + 22
    definitions = "".join(f'<g id="{name}">{picture}</g>' for picture, name in rows.items())
    last = (len(frames) - 1) * window
    dots = "".join(f'<circle cx="{18 + 17 * i}" cy="17" r="5.5" fill="{c}"/>' for i, c in enumerate(("#ff5f57", "#febc2e", "#28c840")))
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0f} {high}" width="{wide:.0f}" height="{high}">
<style>
text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre}}
.c{{fill:{FOREGROUND};opacity:.55}}
#strip{{animation:play {total:.1f}s step-end infinite}}
@keyframes play{{{"".join(stops)}}}
@media (prefers-reduced-motion:reduce){{#strip{{animation:none;transform:translateY(-{last}px)}}}}
</style>
<rect width="100%" height="100%" rx="9" fill="{BACKGROUND}"/>{dots}
<defs>{definitions}</defs>
<svg x="{MARGIN}" y="{MARGIN + 22}" width="{COLUMNS * CELL:.0f}" height="{window}"><g id="strip" fill="{FOREGROUND}">{"".join(strips)}</g></svg>
</svg>
"""


def main():
    program, output = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    if program.name != "verbatim":
        sys.exit(f"{program}: the scene types `verbatim`, so the program must be called that")
    frames = record(program)
    output.write_text(strip(frames))
    print(f"{output}: {len(frames)} frames, {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
