"""A GGUF model in Verbatim beside llama.cpp on the same weights in floats.

    pip install gguf numpy
    python gguf_quality.py check FILE.gguf --llama FOLDER --verbatim FOLDER --text FILE [--work FOLDER]
    python gguf_quality.py curve FILE.gguf --llama FOLDER --verbatim FOLDER --text FILE [--work FOLDER] [--weights NAME …]

The folders hold llama.cpp's programs (llama-perplexity, llama-server, llama-quantize) and ours (verbatim, verbatim-bench).
`check` holds the file's weights, as an F32 file in llama.cpp, against our own floats and int8 of the file itself: mean KL
over the text, and the ids of greedy answers, which must be the same wherever the two best tokens are further apart than
0.1. `curve` moves the weights off their grid (gguf_floats.py) and prints what each of llama.cpp's mixes and each of our
formats then costs, for its bits. Both take what lies in the folder of --work from an earlier run as it is.
"""

import argparse
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import gguf_floats

# Mean KL in nats over the positions, at most.
KL_F32_MAX = 1e-5
KL_INT8_MAX = 1.5e-3
# How far apart the two best log-probabilities may be where another token is chosen.
GAP_MAX = 0.1

PROMPTS = [
    "def fibonacci(n):\n", "import os\nimport sys\n\ndef main():\n", "class Stack:\n    def __init__(self):\n",
    "#include <stdio.h>\n\nint main(void) {\n", "fn main() {\n    let mut numbers = vec![",
    "SELECT name, count(*) FROM", "<!DOCTYPE html>\n<html>\n<head>\n", "function debounce(f, wait) {\n",
    "# Quicksort in Python\n", "package main\n\nimport \"fmt\"\n\nfunc main() {\n",
    "The capital of Australia is", "Once upon a time there was a", "To be, or not to be, that is the",
    "Water boils at a temperature of", "A recipe for bread: take", "The three laws of motion say that",
    "Il était une fois", "Die Hauptstadt von Österreich ist", "1, 1, 2, 3, 5, 8, 13,", "Q: What is 12 times 12?\nA:",
]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=3600) as answer:
        return json.load(answer)


@contextmanager
def server(command, log):
    """The address of a server that is started for the block, once it is ready."""
    port = free_port()
    with open(log, "wb") as output:
        process = subprocess.Popen([*map(str, command), "--port", str(port)], stdout=output, stderr=output)
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(3000):
                if process.poll() is not None:
                    sys.exit(f"{command[0]} ended at once: {log} has what it said")
                try:
                    urllib.request.urlopen(url + "/health", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.2)
            else:
                sys.exit(f"{command[0]} is not ready after ten minutes: {log} has what it said")
            yield url
        finally:
            process.terminate()
            process.wait()


def by_llama(url, ids, tokens):
    """Greedy ids by llama.cpp, to the end of its answer, and how far the best log-probability of each is above the second."""
    answer = post(url + "/completion", {
        "prompt": ids, "n_predict": tokens, "temperature": 0, "n_probs": 2, "cache_prompt": False,
    })
    rows = answer["completion_probabilities"]
    gaps = [row["top_logprobs"][0]["logprob"] - row["top_logprobs"][1]["logprob"] for row in rows]
    return [row["id"] for row in rows], gaps


def by_verbatim(url, ids, tokens):
    """Greedy ids by Verbatim."""
    answer = post(url + "/v1/completions", {
        "prompt": ids, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "return_token_ids": True,
    })
    return answer["choices"][0]["token_ids"]


def differences(url, prompt, theirs):
    """Where Verbatim chooses another token than llama.cpp after the same tokens: the places in `theirs`."""
    found, done = [], 0
    while done < len(theirs):
        ours = by_verbatim(url, prompt + theirs[:done], len(theirs) - done)
        same = next((i for i, (a, b) in enumerate(zip(ours, theirs[done:])) if a != b), len(ours))
        done += same
        if done < len(theirs):
            found.append(done)
            done += 1
    return found


def greedy(args, floats):
    """The places where greedy ids differ and the gap there, of so many tokens of all prompts."""
    llama = [
        args.llama / "llama-server", "-m", floats, "-c", len(PROMPTS) * 256, "-np", len(PROMPTS), "-ctk", "f32", "-ctv", "f32",
        "-fa", "off", "--no-warmup", "--host", "127.0.0.1",
    ]
    with ThreadPoolExecutor(len(PROMPTS)) as pool:
        with server(llama, args.work / "llama-server.log") as url:
            prompts = [post(url + "/tokenize", {"content": prompt, "add_special": True})["tokens"] for prompt in PROMPTS]
            answers = list(pool.map(lambda ids: by_llama(url, ids, args.tokens_each), prompts))
        ours = [args.verbatim / "verbatim", "serve", "--model", args.file, "--weights", "f32", "--max-model-len", 256, "--max-seqs", len(PROMPTS)]
        with server(ours, args.work / "verbatim.log") as url:
            own = [post(url + "/tokenize", {"prompt": prompt})["tokens"] for prompt in PROMPTS]
            if own != prompts:
                sys.exit("the two have different ids of the prompts")
            places = list(pool.map(lambda i: differences(url, prompts[i], answers[i][0]), range(len(prompts))))
    far = [gap for _, gaps in answers for gap in gaps if gap > GAP_MAX]
    differing = [(i, place, answers[i][1][place]) for i, found in enumerate(places) for place in found]
    return sum(len(ids) for ids, _ in answers), len(far), differing


def quality(args, model, floats, files, weights):
    """The lines of verbatim-bench: case, value in its unit, note."""
    command = [
        args.verbatim / "verbatim-bench", "--json", "quality", model, "--text", args.text, "--tokens", args.tokens,
        "--window", args.window, "--llama-perplexity", args.llama / "llama-perplexity",
    ]
    for file in [floats, *files]:
        command += ["--gguf", file]
    for name in weights:
        command += ["--weights", name]
    out = subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in out.splitlines()][1:]


def table(lines):
    """Name, megabytes and bits, perplexity, mean KL and share of same first tokens, of each row."""
    for perplexity, kl, same in zip(lines[0::3], lines[1::3], lines[2::3]):
        name = perplexity["case"].removesuffix(": perplexity")
        yield name, perplexity["note"], perplexity["value"], kl["value"] * float(kl["unit"]), same["value"]


def print_table(rows):
    for name, note, perplexity, kl, same in rows:
        print(f"{name:44} {perplexity:9.4f} {kl:10.3e} {same:6.2f}%  {note}")


def converted(args, name, dither):
    floats = args.work / name
    if not floats.exists():
        gguf_floats.convert(args.file, floats.with_suffix(".part"), dither)
        floats.with_suffix(".part").rename(floats)
    return floats


def check(args):
    floats = converted(args, "floats.gguf", None)
    rows = list(table(quality(args, args.file, floats, [args.file], ["int8"])))
    print_table(rows)
    kl = {name: value for name, _, _, value, _ in rows}
    total, far, differing = greedy(args, floats)
    wrong = [place for place in differing if place[2] > GAP_MAX]
    for prompt, place, gap in differing:
        print(f"prompt {prompt + 1}, token {place + 1}: another token, the two best are {gap:.4f} apart")
    verdicts = [
        (f"KL(llama.cpp f32 || f32) {kl['f32']:.2e} < {KL_F32_MAX}", kl["f32"] < KL_F32_MAX),
        (f"KL(llama.cpp f32 || int8) {kl['int8']:.2e} < {KL_INT8_MAX}", kl["int8"] < KL_INT8_MAX),
        (f"{total} greedy ids, {far} with a gap above {GAP_MAX}: {len(wrong)} of these differ", not wrong and far > 0),
    ]
    for what, holds in verdicts:
        print(f"{'holds' if holds else 'FALLS SHORT'}: {what}")
    return all(holds for _, holds in verdicts)


def curve(args):
    floats = converted(args, f"moved-{args.seed}.gguf", args.seed)
    files = []
    for mix in args.mixes.split(","):
        file = args.work / f"moved-{args.seed}-{mix}.gguf"
        if not file.exists():
            part = file.with_suffix(".part")
            subprocess.run([args.llama / "llama-quantize", floats, part, mix], check=True, stdout=subprocess.DEVNULL)
            part.rename(file)
        files.append(file)
    print_table(table(quality(args, floats, floats, files, args.weights)))
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ["check", "curve"]:
        command = commands.add_parser(name)
        command.add_argument("file", type=Path)
        for folder in ["--llama", "--verbatim"]:
            command.add_argument(folder, type=Path, required=True)
        command.add_argument("--text", type=Path, required=True)
        command.add_argument("--work", type=Path, help="kept; default: a temporary folder")
        command.add_argument("--tokens", type=int, default=2048)
        command.add_argument("--window", type=int, default=256)
    commands.choices["check"].add_argument("--tokens-each", type=int, default=64)
    commands.choices["curve"].add_argument("--seed", type=int, default=1)
    commands.choices["curve"].add_argument("--mixes", default="Q4_0,Q4_K_M,Q5_K_M,Q6_K,Q8_0")
    commands.choices["curve"].add_argument("--weights", action="append", default=None, help="ours, such as int4:down=int8")
    args = parser.parse_args()
    if args.command == "curve":
        args.weights = args.weights or ["int8", "int4"]
    # Servers are ended, too, where this is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as temporary:
        args.work = args.work or Path(temporary)
        args.work.mkdir(exist_ok=True)
        return {"check": check, "curve": curve}[args.command](args)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
