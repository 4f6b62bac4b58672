#!/usr/bin/env bash
# What somebody at a terminal meets: keys at the prompt of `verbatim chat`, Ctrl-C in an answer, what Tab completes in
# a shell, and the picture of `verbatim top`. tmux is the terminal; the program is the real one, with the built-in model.
#
#   tests/terminal/run.sh [PATH OF verbatim]
set -euo pipefail
cd "$(dirname "$0")/../.."
program=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/release/verbatim}")
[ -x "$program" ] || { echo "no program at $program: cargo build --release makes it"; exit 1; }
if ! command -v tmux >/dev/null; then
    { apt-get update -q && apt-get install -qy tmux; } >/dev/null 2>&1 || true
fi
if ! command -v tmux >/dev/null; then
    echo "skipped: a terminal's keys and pictures (no tmux)"
    exit 0
fi

folder=$(mktemp -d)
# A tmux of its own: it reads nobody's settings, and ends with this script.
terminal() { tmux -S "$folder/tmux" -f /dev/null "$@"; }
server=
finish() {
    terminal kill-server 2>/dev/null || true
    [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server"; } || true
    rm -rf "$folder"
}
trap finish EXIT
export XDG_STATE_HOME=$folder/state TERM=screen-256color LC_ALL=C.UTF-8
unset NO_COLOR CLICOLOR CLICOLOR_FORCE
for name in $(compgen -e VERBATIM_); do unset "$name"; done

shown() { terminal capture-pane -p -t it; }
fail() { echo "FAILED: $1; the terminal shows:"; shown; exit 1; }
# Waits until the terminal shows a pattern.
sees() {
    for _ in $(seq 300); do
        if shown | grep -qE -- "$1"; then return; fi
        sleep 0.1
    done
    fail "expected $1"
}
# Waits until the last line is a prompt at which nothing is typed.
prompts() {
    for _ in $(seq 300); do
        if [ "$(shown | sed '/^$/d' | tail -1)" = '>' ]; then return; fi
        sleep 0.1
    done
    fail "expected a prompt"
}
keys() { terminal send-keys -t it "$@"; }
open() { terminal new-session -d -s it -x "$1" -y "$2" "$3"; }
closed() {
    for _ in $(seq 100); do
        terminal has-session -t it 2>/dev/null || return 0
        sleep 0.1
    done
    fail "expected the end of the program"
}

echo "chat: the prompt"
open 80 24 "exec '$program' chat --threads 1 --speculate off --temperature 0 --max-tokens 24"
sees '/help lists commands'
keys 'The capital of Frnce is' Enter
prompts
# Up recalls it, and Left goes to where a letter is missing.
keys Up
for _ in $(seq 6); do keys Left; done
keys a
sees '> The capital of France is'
keys Enter
sees 'Paris'
prompts
# Ctrl-C clears the line; the second one says how to leave.
keys 'nobody sends this' C-c
prompts
keys C-c
sees 'Ctrl-D or /exit leaves'
# A line's end that is typed with Alt sends nothing yet.
keys '/system one' M-Enter 'two' Enter
sees '^two$'
prompts
keys '/system' Enter
sees '^one$'
prompts
# Tab completes commands and parameters.
keys /regen Tab
sees '^> /regenerate'
keys C-c
prompts
keys '/set temp' Tab '101' Enter
sees 'temperature must be between 0 and 100'
prompts
keys /reset Enter
sees 'the conversation is forgotten'
prompts

echo "chat: Ctrl-C in an answer"
# The built-in model would go on until its context is full.
for command in '/set ignore_eos true' '/set max_tokens default' '/system -'; do
    keys "$command" Enter
    sees "^> $command"
    prompts
done
terminal clear-history -t it
keys 'Tell a story' Enter
for _ in $(seq 200); do
    shown | sed '1,/> Tell a story/d' | grep -q '[a-z]' && break
    sleep 0.05
done
keys C-c
sees '^\(stopped\)$'
prompts
keys C-d
closed

echo "chat: the history of another day"
[ "$(stat -c %a "$XDG_STATE_HOME/verbatim/chat-history")" = 600 ] || { echo "FAILED: others may read the history"; exit 1; }
open 80 24 "exec '$program' chat --threads 1"
sees '/help lists commands'
keys Up Up Up Up Up
sees '> /reset'
keys C-c
prompts
keys C-d
closed

# A shell that has read nobody's settings, only the program's completions, in a folder with one more file.
open_shell() {
    local at=$folder/$1
    mkdir "$at"
    touch "$at/unexpected"
    "$program" completions "$1" >"$at/_verbatim"
    case $1 in
        bash)
            echo 'PS1="> "; source ./_verbatim' >"$at/rc"
            open 80 24 "cd '$at' && exec bash --noprofile --rcfile rc -i"
            ;;
        zsh)
            echo 'PS1="> "; fpath=("$PWD" $fpath); autoload -U compinit; compinit -u -D' >"$at/.zshrc"
            open 80 24 "cd '$at' && ZDOTDIR='$at' exec zsh -o no_global_rcs -i"
            ;;
        fish)
            echo 'function fish_prompt; printf "> "; end' >"$at/rc"
            # What it suggests by itself would look like what Tab completes.
            echo 'set -g fish_autosuggestion_enabled 0; set -g fish_greeting; source ./_verbatim' >>"$at/rc"
            open 80 24 "cd '$at' && HOME='$at' exec fish --no-config --init-command 'source ./rc'"
            ;;
    esac
    prompts
}
# Types words behind `verbatim`, Tab, and what is given third; the line must then go on with what is given second.
completes() {
    keys "verbatim $1" Tab
    [ -z "${3:-}" ] || keys "$3"
    sees "^> verbatim $1$2"
    keys C-c
    prompts
}
for shell in bash zsh fish; do
    if ! command -v "$shell" >/dev/null; then
        echo "skipped: completions of $shell (no $shell)"
        continue
    fi
    echo "completions: $shell"
    open_shell "$shell"
    # Commands, flags, words that are values of a flag, files where a flag wants one; a port is none.
    completes sel ftest
    completes 'serve --max-se' qs
    completes 'serve --weights bf' 16
    completes 'serve --log-file unex' pected
    completes 'serve --port unex' x x
    keys C-d
    closed
done

echo "top"
VERBATIM_PORT=0 "$program" serve --threads 1 --speculate off >/dev/null 2>"$folder/log" &
server=$!
for _ in $(seq 100); do grep -q 'listening on' "$folder/log" && break || sleep 0.1; done
url=$(grep -oE 'http://[0-9.]+:[0-9]+' "$folder/log" | head -1)
open 80 24 "exec '$program' top '$url'"
sees '● .* ready'
sees 'KV blocks'
# A stream that would go on for seconds is seen, chosen while the picture stands still, and cancelled.
curl -sN "$url/v1/completions" -H 'content-type: application/json' -H 'x-request-id: watched' \
    -d '{"prompt": "Once", "max_tokens": 450, "n": 128, "ignore_eos": true, "stream": true}' >"$folder/stream" &
client=$!
sees 'watched.* decode'
keys p
sees '● .* paused'
keys Down
keys c
sees 'cancel watched.*\? y'
keys y
sees 'watched was cancelled'
keys p
sees '● .* ready'
wait "$client" || true
grep -q request_cancelled "$folder/stream" || { echo "FAILED: the client of a cancelled request is not told"; exit 1; }
sees '[0-9]+ decode'
terminal resize-window -t it -x 120 -y 40
sees '^log'
keys q
closed
"$program" top --once "$url" | grep 'KV blocks' >/dev/null || { echo "FAILED: top --once prints no picture"; exit 1; }
kill "$server" && wait "$server" || true
server=
echo "a terminal's keys and pictures are right"
