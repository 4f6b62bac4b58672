#!/usr/bin/env bash
# The README's pictures, made of real runs of the built-in model:
#
#   docs/pictures/make.sh target/release/verbatim [terminal|browser]
#
# terminal.svg needs tmux. page-*.webp and dashboard-*.webp need what tests/browser/run.sh needs (Chromium, Node); its
# tests take the screenshots. Both need Python 3.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "${1:?the program}")
part=${2:-all}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ "$part" != browser ]; then
    python3 "$here/terminal.py" "$program" "$here/terminal.svg"
fi
if [ "$part" != terminal ]; then
    mkdir "$work/shots"
    SCREENSHOTS=$work/shots "$here/../../tests/browser/run.sh" "$program" '^pictures'
    python3 -m venv "$work/venv" && "$work/venv/bin/pip" -q --disable-pip-version-check install pillow
    "$work/venv/bin/python" - "$work/shots" "$here" <<'PYTHON'
import pathlib, sys
from PIL import Image

shots, here = map(pathlib.Path, sys.argv[1:])
for name, shot in {
    "page-light": "page-light-bits", "page-dark": "page-dark-bits",
    "dashboard-light": "dashboard-light", "dashboard-dark": "dashboard-dark",
}.items():
    path = here / f"{name}.webp"
    Image.open(shots / f"{shot}.png").convert("RGB").save(path, quality=82, method=6)
    print(f"{path}: {path.stat().st_size} bytes")
PYTHON
fi
