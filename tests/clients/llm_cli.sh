#!/usr/bin/env bash
# Simon Willison's `llm` against a running server: tests/clients/llm_cli.sh http://127.0.0.1:8080/v1
#
# Needs `pip install llm` in front of the path, and a model with a chat template and room for a few hundred tokens.
set -euo pipefail
url=${1:?the address of a server, with /v1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LLM_USER_PATH=$work
model=$(curl -sf "$url/models" | python3 -c 'import json, sys; print(json.load(sys.stdin)["data"][0]["id"])')
cat >"$work/extra-openai-models.yaml" <<YAML
- model_id: local
  model_name: $model
  api_base: $url
  api_key_name: local
  supports_schema: true
  supports_tools: true
- model_id: local-plain
  model_name: $model
  api_base: $url
  api_key_name: local
  completion: true
YAML
llm keys set local --value none
ask() { llm -m local -o seed 7 "$@"; }
whole=$(ask --no-stream -o max_tokens 12 Hello)
[ "$(ask -o max_tokens 12 Hello)" = "$whole" ] || { echo "streamed and whole differ"; exit 1; }
llm -m local-plain -o max_tokens 8 -o seed 1 'Once upon a time' >/dev/null
schema='{"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}}, "required": ["name"], "additionalProperties": false}'
ask -o max_tokens 200 --schema "$schema" 'Tell me of a city.' | python3 -c 'import json, sys; assert isinstance(json.load(sys.stdin)["name"], str)'
# A tool that may be called; whether it is, the model decides.
ask -o max_tokens 12 -T llm_version 'Which version?' >/dev/null
echo ok
