"""Runs the Python that README.md and docs/testing.md show: python documents.py http://127.0.0.1:8080 target/release/verbatim

The README's program asks the server at the URL, which serves the built-in model. The test kit's files are run by pytest in a
folder of their own, where `verbatim` is the program. Needs `pip install openai pytest`.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

url, program = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
root = pathlib.Path(__file__).resolve().parents[2]


def blocks(page):
    found = re.findall(r"^```python\n(.*?)^```", (root / page).read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{page} shows no Python"
    return found


def run(*command, **how):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **how)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


for block in blocks("README.md"):
    at = "http://127.0.0.1:8080"
    assert at in block, "README.md asks another server"
    said = run(sys.executable, "-c", block.replace(at, url))
    assert "Paris" in said and "vb-" in said, said

with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    for block in blocks("docs/testing.md"):
        (folder / re.match(r"# (\w+\.py)\n", block)[1]).write_text(block)
    programs = folder / "bin"
    programs.mkdir()
    (programs / "verbatim").symlink_to(program)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VERBATIM_")}
    environment["PATH"] = f"{programs}:{environment['PATH']}"
    said = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder, env=environment)
    assert re.search(r"^[1-9]\d* passed", said, re.MULTILINE), said
print("ok: the README's program, and the test kit under pytest")
