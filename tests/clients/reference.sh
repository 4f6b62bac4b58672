#!/usr/bin/env bash
# The numbers of a server against those of transformers and sentence-transformers, in f32:
#
#   tests/clients/reference.sh PROGRAM [MODEL…]
#
# Needs torch, transformers, accelerate, 'lm-eval[api]', sentence-transformers and requests in front of the path. For every MODEL, a
# folder, lm_eval.sh compares the log-likelihoods of a multiple-choice task; without MODEL these are the built-in model's
# and, where test data is (VERBATIM_TESTDATA, or `shared` beside the repository), those of stories260K. Then
# embeddings_reference.py compares vectors of models that embedding_models.py makes. A difference is a failure.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "${1:?the program}")
shift
work=$(mktemp -d)
server=
stop() { [ -z "$server" ] || { kill "$server" && wait "$server" || true; }; server=; }
trap 'stop; rm -rf "$work"' EXIT
if ! python3 -c 'import torch' 2>/dev/null; then
    echo "skipped: numbers against transformers and sentence-transformers (no torch)"
    exit 0
fi
demo=$here/../../host-linux/demo/model
models=("$@")
if [ ${#models[@]} = 0 ]; then
    models=("$demo")
    stories=${VERBATIM_TESTDATA:-$here/../../../shared}/models/stories260K
    if [ -d "$stories" ]; then models+=("$stories"); else echo "skipped: numbers of stories260K (no test data)"; fi
fi
serve() { # MODEL
    local port
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    url=http://127.0.0.1:$port
    VERBATIM_LOG=off "$program" --model "$1" --served-model-name reference --weights f32 --kv f32 --port "$port" 2>"$work/server.log" &
    server=$!
    for _ in $(seq 600); do
        curl -sf "$url/health" >/dev/null && return
        kill -0 "$server" 2>/dev/null || break
        sleep 0.2
    done
    cat "$work/server.log"
    return 1
}
count=0
for model in "${models[@]}"; do
    # lm-eval counts tokens of a text without special ones, so the tokenizer of this copy adds none.
    folder=$work/model-$((count += 1))
    cp -rL "$model" "$folder"
    chmod -R u+w "$folder"
    python3 - "$folder" <<'PYTHON'
import json, sys
for name, changes in [("tokenizer.json", {"post_processor": None}), ("tokenizer_config.json", {"add_bos_token": False})]:
    with open(f"{sys.argv[1]}/{name}") as file:
        content = json.load(file)
    with open(f"{sys.argv[1]}/{name}", "w") as file:
        json.dump(content | changes, file)
PYTHON
    serve "$folder"
    told=$("$here/lm_eval.sh" "$url/v1" "$folder") || { echo "$told"; exit 1; }
    echo "$model: $(tail -n 1 <<<"$told")"
    stop
done
embedding=$(python3 "$here/embedding_models.py" "$work/embedding" "$demo" 2>"$work/made.log") || { cat "$work/made.log"; exit 1; }
while read -r folder; do
    serve "$folder"
    told=$(python3 "$here/embeddings_reference.py" "$folder" "$url" 2>"$work/compared.log") \
        || { cat "$work/compared.log"; echo "failed: $(basename "$folder"): $told"; exit 1; }
    echo "$(basename "$folder"): $(paste -sd ' ' <<<"$told")"
    stop
done <<<"$embedding"
echo "ok: ${#models[@]} models as transformers has them, $(wc -l <<<"$embedding") as sentence-transformers has them"
