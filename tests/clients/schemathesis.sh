#!/usr/bin/env bash
# Random requests of every operation of /openapi.json against a running server: none may be answered with 500, nor
# with a status, a media type or a body that the document does not name.
#
#   tests/clients/schemathesis.sh http://127.0.0.1:8080 [EXAMPLES]
#
# Needs `pip install schemathesis` in front of the path.
set -euo pipefail
url=${1:?the address of a server}
examples=${2:-20}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# Long answers would make the run long, and say no more than short ones.
cat >hooks.py <<'PYTHON'
import schemathesis

BOUNDED = ("max_tokens", "max_completion_tokens", "max_output_tokens", "min_tokens", "n")


@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict):
        for name in BOUNDED:
            if isinstance(body.get(name), int) and body[name] > 4:
                body[name] = 4
        if "max_tokens" not in body and "messages" in body:
            body["max_tokens"] = 4
        if isinstance(body.get("options"), dict):
            body["options"]["num_predict"] = 4
    return body
PYTHON
# The events of the dashboard do not end.
SCHEMATHESIS_HOOKS=hooks schemathesis run "$url/openapi.json" \
    --exclude-path /dashboard/events \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    --phases examples,coverage,fuzzing --max-examples "$examples" --seed 1 --generation-database none \
    --request-timeout 60 --suppress-health-check all
