#!/usr/bin/env bash
# lm-eval against a running server: tests/clients/lm_eval.sh http://127.0.0.1:8080/v1 TOKENIZER [TASK…]
#
# Needs `pip install 'lm-eval[api]' transformers` in front of the path; TOKENIZER is the folder of the served model, whose tokenizer
# lm-eval uses to count. Log-likelihoods and generated texts by `local-completions` at 1 and at 16 requests at once, which
# must be the same to the last digit, and texts by `local-chat-completions`. Without TASK a task is made on the spot, so
# that no data set is needed. Where torch is installed too, the log-likelihoods must be within 1e-3 of those of
# transformers, which asks for a server with --weights f32 --kv f32.
set -euo pipefail
url=${1:?the address of a server, with /v1}
tokenizer=${2:?the folder of the served model}
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
model=$(curl -sf "$url/models" | python3 -c 'import json, sys; print(json.load(sys.stdin)["data"][0]["id"])')
tasks=("$@")
if [ ${#tasks[@]} = 0 ]; then
    tasks=(colours stories)
    python3 - "$work" <<'PYTHON'
import json, sys
work = sys.argv[1]
questions = [("The sky is", ["blue", "green"], 0), ("Grass is", ["red", "green"], 1), ("Snow is", ["white", "black"], 0),
             ("Blood is", ["red", "blue"], 0), ("The sun is", ["purple", "yellow"], 1)]
with open(f"{work}/colours.jsonl", "w") as file:
    for text, choices, right in questions:
        file.write(json.dumps({"text": text, "choices": choices, "right": right}) + "\n")
common = f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {work}/colours.jsonl}}}}\ntest_split: test\n"
with open(f"{work}/colours.yaml", "w") as file:
    file.write("task: colours\n" + common + "output_type: multiple_choice\ndoc_to_text: \"{{text}}\"\n"
               "doc_to_choice: choices\ndoc_to_target: right\nmetric_list:\n  - metric: acc\n")
with open(f"{work}/stories.yaml", "w") as file:
    file.write("task: stories\n" + common + "output_type: generate_until\ndoc_to_text: \"{{text}}\"\n"
               "doc_to_target: \"{{choices[right]}}\"\ngeneration_kwargs: {until: [\"\\n\"], max_gen_toks: 8, temperature: 0}\n"
               "metric_list:\n  - metric: exact_match\n")
PYTHON
fi
list=$(IFS=,; echo "${tasks[*]}")
evaluate() { # KIND PATH CONCURRENT TASKS NAME [FLAG [WHETHER PROMPTS ARE IDS]]
    lm_eval --model "$1" --tasks "$4" --include_path "$work" --output_path "$work/$5" --log_samples \
        --model_args "model=$model,base_url=$url/$2,tokenizer=$tokenizer,num_concurrent=$3,max_retries=1,tokenized_requests=${7:-False}" \
        ${6:-} >"$work/$5.log" 2>&1 || { cat "$work/$5.log"; exit 1; }
}
evaluate local-completions completions 1 "$list" one
evaluate local-completions completions 16 "$list" many
[ ${#tasks[@]} = 0 ] || evaluate local-chat-completions chat/completions 4 "${tasks[-1]}" chat --apply_chat_template
if python3 -c 'import torch' 2>/dev/null; then
    lm_eval --model hf --tasks "${tasks[0]}" --include_path "$work" --output_path "$work/reference" --log_samples \
        --model_args "pretrained=$tokenizer,dtype=float32" --device cpu >"$work/reference.log" 2>&1 \
        || { cat "$work/reference.log"; exit 1; }
    evaluate local-completions completions 16 "${tasks[0]}" ids "" True
fi
python3 - "$work" <<'PYTHON'
import glob, json, sys
def samples(name):
    found = {}
    for path in sorted(glob.glob(f"{sys.argv[1]}/{name}/**/samples_*.jsonl", recursive=True)):
        task = path.split("samples_")[1].rsplit("_", 1)[0]
        for line in open(path):
            line = json.loads(line)
            found[task, line["doc_id"]] = line["resps"]
    return found
one, many = samples("one"), samples("many")
assert one and one == many, "the numbers depend on how many requests run at once"
reference, ids = samples("reference"), samples("ids")
for sample, expected in reference.items():
    for (want, _), (have, _) in zip([answer[0] for answer in expected], [answer[0] for answer in ids[sample]]):
        assert abs(float(want) - float(have)) <= 1e-3, (sample, want, have)
print(f"ok: {len(one)} samples" + (f", {len(reference)} of them as transformers has them" if reference else ""))
PYTHON
