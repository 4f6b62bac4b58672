#!/usr/bin/env bash
# The page at `/` and the dashboard in real browsers:
#
#   tests/browser/run.sh target/release/verbatim [PATTERN]
#
# PATTERN chooses tests by name. The program is started and killed by the tests themselves, with the built-in model.
# They run in Chromium (Debian's package `chromium`, or CHROMIUM with a path), and those of firefox.test.mjs in Firefox
# (`firefox-esr`, or FIREFOX with a path). Where a browser is missing its tests are skipped, by name.
# Packages are kept in BROWSER_ENV, if that names a folder, and thrown away otherwise; pictures of the page in light,
# dark and narrow are written to SCREENSHOTS, if that does. PAGE_PROXY is for work on the page: a command that serves
# its files at the port that is its first argument, and hands all else on to the port that is its second.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "${1:?the program}")
pattern=${2:-.}
found() { for name in "$@"; do command -v "$name" && return; done || true; }
CHROMIUM=${CHROMIUM:-$(found chromium chromium-browser google-chrome)}
FIREFOX=${FIREFOX:-$(found firefox firefox-esr)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tests=()
for file in "$here"/*.test.mjs; do
    case $file in
        */firefox.test.mjs) path=$FIREFOX browser=Firefox ;;
        *) path=$CHROMIUM browser=Chromium ;;
    esac
    if [ -n "$path" ] && command -v node >/dev/null; then
        tests+=("$work/tests/$(basename "$file")")
    else
        grep -ohP "^test\('\K[^']+" "$file" | sed "s/^/skipped (no $browser, or no Node): /"
    fi
done
[ ${#tests[@]} -gt 0 ] || exit 0
env=${BROWSER_ENV:-$work/env}
packages="playwright-core@1.65.1 puppeteer-core@24.43.1 axe-core@4.14.1 commonmark-spec@0.31.2"
if [ "$(cat "$env/ready" 2>/dev/null)" != "$packages" ]; then
    mkdir -p "$env"
    # shellcheck disable=SC2086 # several words
    (cd "$env" && npm install --silent --no-save --no-audit --no-fund $packages) && echo "$packages" >"$env/ready"
fi
cp -r "$here/../../host-linux/demo/model" "$work/model"
sed -i 's/"max_position_embeddings": [0-9]*/"max_position_embeddings": 4096/' "$work/model/config.json"
mkdir "$work/tests" && cp "$here"/*.mjs "$work/tests" && cp -r "$here/../../host-linux/src/serve/"{page,dashboard} "$work" && ln -s "$env/node_modules" "$work/tests/node_modules"
echo '{"type": "module"}' | tee "$work"/{page,dashboard}/package.json >/dev/null # for the tests that need no browser
export CHROMIUM FIREFOX PROGRAM=$program MODEL=$work/model
node --test --test-concurrency=1 --test-reporter=spec --test-name-pattern="$pattern" "${tests[@]}"
