#!/usr/bin/env bash
# Real clients against a running server, each from its own package in an environment of its own:
#
#   tests/clients/run.sh http://127.0.0.1:8080 [NAME…]
#   tests/clients/run.sh --serve target/release/verbatim [NAME…]
#
# The second way starts a server for them: the built-in model with a longer context, embeddings, and a folder of batches.
# What needs tools, embeddings or batches is told by CLIENT_FLAGS (default, and with --serve: --tools --embed --batch).
# With RECORD, a folder, what each client sends is recorded there by record.py, for tests/tests/recorded.rs.
# Packages are kept in CLIENT_ENVS, if that names a folder, and thrown away otherwise. The exit code is 1 if one failed.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
all=(openai metrics anthropic responses ollama litellm langchain llama-index instructor pydantic-ai openai-agents llm
    npm-openai npm-ai schemathesis)
first=${1:?the address of a server, or --serve PROGRAM}
shift
work=$(mktemp -d)
envs=${CLIENT_ENVS:-$work/envs}
server=
stop() { [ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$work"; }
trap stop EXIT
mkdir -p "$envs"
if [ "$first" = --serve ]; then
    program=${1:?the program}
    shift
    model=$work/demo
    cp -r "$here/../../host-linux/demo/model" "$model"
    sed -i 's/"max_position_embeddings": [0-9]*/"max_position_embeddings": 4096/' "$model/config.json"
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    VERBATIM_LOG=off "$program" --model "$model" --served-model-name demo --port "$port" --pooling mean \
        --batch-dir "$work/batches" 2>"$work/server.log" &
    server=$!
    url=http://127.0.0.1:$port
    LM_EVAL_TOKENIZER=$model
    for _ in $(seq 100); do curl -sf "$url/health" >/dev/null && break || sleep 0.2; done
else
    url=${first%/}
    url=${url%/v1}
fi
names=("$@")
[ ${#names[@]} -gt 0 ] || names=("${all[@]}")
read -ra flags <<<"${CLIENT_FLAGS---tools --embed --batch}"

# The folder of an environment with these Python packages.
python_env() { # NAME PACKAGE…
    local env=$envs/$1
    shift
    if [ ! -e "$env/ready" ]; then
        python3 -m venv "$env" && "$env/bin/pip" -q --disable-pip-version-check install "$@" >&2 && touch "$env/ready" || return 1
    fi
    echo "$env"
}
script() { # SCRIPT URL NAME PACKAGE…
    local script=$1 at=$2 env
    shift 2
    env=$(python_env "$@") && "$env/bin/python" "$here/$script" "$at" "${flags[@]}"
}
node_script() { # SCRIPT NAME PACKAGE…
    local script=$1 env=$envs/$2
    shift 2
    if [ ! -e "$env/ready" ]; then
        mkdir -p "$env" && (cd "$env" && npm init -y >/dev/null && npm install --silent "$@") && touch "$env/ready" || return 1
    fi
    # Node looks for packages beside the script.
    cp "$here/$script" "$env/" && (cd "$env" && node "$script" "$url/v1" "${flags[@]}")
}
client() {
    local env
    case $1 in
        openai) script openai_client.py "$url/v1" openai openai ;;
        responses) script responses_client.py "$url/v1" openai openai ;;
        metrics) script metrics.py "$url" metrics prometheus-client ;;
        anthropic) script anthropic_client.py "$url" anthropic anthropic ;;
        ollama) script ollama_client.py "$url" ollama ollama ;;
        litellm) script litellm_client.py "$url/v1" litellm litellm ;;
        langchain) script langchain_client.py "$url/v1" langchain langchain-openai ;;
        llama-index) script llama_index_client.py "$url/v1" llama-index llama-index-llms-openai-like llama-index-embeddings-openai-like ;;
        instructor) script instructor_client.py "$url/v1" instructor instructor ;;
        pydantic-ai) script pydantic_ai_client.py "$url/v1" pydantic-ai 'pydantic-ai-slim[openai]' ;;
        openai-agents) script openai_agents_client.py "$url/v1" openai-agents openai-agents ;;
        llm) env=$(python_env llm llm) && PATH=$env/bin:$PATH "$here/llm_cli.sh" "$url/v1" ;;
        npm-openai) node_script openai_client.mjs npm-openai openai zod ;;
        npm-ai) node_script ai_client.mjs npm-ai ai @ai-sdk/openai-compatible zod ;;
        schemathesis) env=$(python_env schemathesis schemathesis) && PATH=$env/bin:$PATH "$here/schemathesis.sh" "$url" "${EXAMPLES:-20}" ;;
        documents) # Only with --serve, since the test kit starts the program itself.
            [ -n "${program:-}" ] || { echo "documents needs --serve PROGRAM" >&2; return 2; }
            env=$(python_env documents openai pytest) && "$env/bin/python" "$here/documents.py" "$url" "$program" ;;
        lm-eval) # Only by name, since it brings much; LM_EVAL_TOKENIZER is the folder of the served model.
            env=$(python_env lm-eval 'lm-eval[api]' transformers) && PATH=$env/bin:$PATH "$here/lm_eval.sh" "$url/v1" "${LM_EVAL_TOKENIZER:?}" ;;
        reference) # Only by name, since torch is large, and only with --serve, since it starts servers of its own.
            [ -n "${program:-}" ] || { echo "reference needs --serve PROGRAM" >&2; return 2; }
            if env=$(python_env reference torch accelerate 'lm-eval[api]' sentence-transformers requests); then
                PATH=$env/bin:$PATH "$here/reference.sh" "$program"
            else
                echo "skipped: numbers against transformers and sentence-transformers (pip cannot bring them)"
            fi ;;
        *) echo "no client is called $1; there are ${all[*]} documents lm-eval reference" >&2; return 2 ;;
    esac
}
failed=() upstream=$url
for name in "${names[@]}"; do
    printf '%-14s' "$name"
    recorder=
    if [ -n "${RECORD:-}" ]; then
        python3 "$here/record.py" "$upstream" 18456 >"$RECORD/$name.jsonl" &
        recorder=$!
        url=http://127.0.0.1:18456
        for _ in $(seq 50); do curl -sf "$url/health" >/dev/null && break || sleep 0.1; done
    fi
    if output=$(client "$name" 2>&1); then
        tail -n 1 <<<"$output"
        sed '$d' <<<"$output" | grep '^skipped:'
    else
        failed+=("$name")
        printf 'FAILED\n%s\n' "$(tail -n "${CLIENT_LINES:-25}" <<<"$output" | sed 's/^/    /')"
    fi
    [ -z "$recorder" ] || { kill "$recorder"; wait "$recorder" 2>/dev/null; }
done
[ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
