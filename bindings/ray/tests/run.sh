#!/usr/bin/env bash
# The tests of verbatim-ray in an environment of their own, against the program in VERBATIM_BINARY
# (default: the release build of this clone).
#
#   bindings/ray/tests/run.sh          without Ray, and a few with it: about two minutes
#   bindings/ray/tests/run.sh slow     everything
#
# CLIENT_ENVS may name a folder in which the environment is kept.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-quick}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
env=${CLIENT_ENVS:-$work}/ray
if ! command -v python3 >/dev/null || ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "skipped: verbatim-ray (no Python of 3.11 or later)"
    exit 0
fi
if [ ! -e "$env/ready" ]; then
    if ! { python3 -m venv "$env" && "$env/bin/pip" -q --disable-pip-version-check install '.[data,test,stores]'; }; then
        echo "skipped: verbatim-ray (pip cannot bring ray)"
        exit 0
    fi
    touch "$env/ready"
fi
export VERBATIM_BINARY=${VERBATIM_BINARY:-$PWD/../../target/release/verbatim} PYTHONPATH=$PWD/src RAY_TMPDIR=$work/ray
mkdir -p "$RAY_TMPDIR"
"$env/bin/ruff" check src tests
"$env/bin/ruff" format --check src tests
"$env/bin/mypy"
select=(-m "not slow and (quick or not cluster)")
[ "$mode" = quick ] || select=()
"$env/bin/python" -m pytest -q "${select[@]}" tests
