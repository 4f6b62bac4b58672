#!/usr/bin/env bash
# The page at `/` in a real browser:
#
#   tests/browser/run.sh target/release/verbatim [PATTERN]
#
# PATTERN chooses tests by name. The program is started and killed by the tests themselves, with the built-in model.
# Where there is no Chromium (Debian's package `chromium`, or CHROMIUM with a path) the tests are skipped, by name.
# Packages are kept in BROWSER_ENV, if that names a folder, and thrown away otherwise; pictures of the page in light,
# dark and narrow are written to SCREENSHOTS, if that does. PAGE_PROXY is for work on the page: a command that serves
# its files at the port that is its first argument, and hands all else on to the port that is its second.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "${1:?the program}")
pattern=${2:-.}
chromium=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
if [ -z "$chromium" ] || ! command -v node >/dev/null; then
    grep -ohP "^test\('\K[^']+" "$here"/*.test.mjs | sed 's/^/skipped (no Chromium, or no Node): /'
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
env=${BROWSER_ENV:-$work/env}
if [ ! -e "$env/ready" ]; then
    mkdir -p "$env"
    (cd "$env" && npm install --silent --no-save --no-audit --no-fund playwright-core@1.65.1 axe-core@4.14.1 \
        commonmark-spec@0.31.2) && touch "$env/ready"
fi
cp -r "$here/../../host-linux/demo/model" "$work/model"
sed -i 's/"max_position_embeddings": [0-9]*/"max_position_embeddings": 4096/' "$work/model/config.json"
mkdir "$work/tests" && cp "$here"/*.mjs "$work/tests" && cp -r "$here/../../host-linux/src/serve/"{page,dashboard} "$work" && ln -s "$env/node_modules" "$work/tests/node_modules"
echo '{"type": "module"}' | tee "$work"/{page,dashboard}/package.json >/dev/null # for the tests that need no browser
export CHROMIUM=$chromium PROGRAM=$program MODEL=$work/model
node --test --test-concurrency=1 --test-reporter=spec --test-name-pattern="$pattern" "$work"/tests/*.test.mjs
