#!/usr/bin/env bash
# lm-eval against a running server: tests/clients/lm_eval.sh http://127.0.0.1:8080/v1 TOKENIZER [TASK…]
#
# Needs `pip install 'lm-eval[api]' transformers` in front of the path; TOKENIZER is the folder of the served model, whose tokenizer
# lm-eval uses to count. Log-likelihoods and generated texts by `local-completions` at 1 and at 16 requests at once, which
# must be the same to the last digit, and texts by `local-chat-completions`. Without TASK a task is made on the spot, so
# that no data set is needed. Where torch is installed too, the log-likelihoods of the first task must be within 1e-3 of
# those of transformers, for prompts as ids and as text alike. That asks for a server with --weights f32 --kv f32 and for a
# tokenizer that adds no special tokens, since lm-eval counts none; reference.sh starts such a server.
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
             ("Blood is", ["red", "blue"], 0), ("The sun is", ["purple", "yellow"], 1),
             ("Lily had a red ball. The ball was", ["red", "blue", "a big dog who was very happy"], 0),
             ("Once upon a time, there was a little", ["girl", "boy named Tim", "of"], 0),
             ("The capital of France is", ["Paris", "Rome", "Berlin", "Madrid"], 0),
             ("Two plus two is", ["three", "four", "five"], 1),
             ("Tom and his mother went to the park. They saw a big tree and", ["played", "were not the sky"], 0),
             ("In the night it is", ["dark", "bright"], 0), ("Ice is", ["cold", "hot"], 0)]
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
evaluate() { # KIND PATH CONCURRENT TASKS NAME WHETHER-PROMPTS-ARE-IDS [FLAG]
    lm_eval --model "$1" --tasks "$4" --include_path "$work" --output_path "$work/$5" --log_samples \
        --model_args "model=$model,base_url=$url/$2,tokenizer=$tokenizer,num_concurrent=$3,max_retries=1,tokenized_requests=$6" \
        ${7:-} >"$work/$5.log" 2>&1 || { cat "$work/$5.log"; exit 1; }
}
for kind in text:False ids:True; do
    for concurrent in 1 16; do
        evaluate local-completions completions "$concurrent" "$list" "${kind%:*}-$concurrent" "${kind#*:}"
    done
done
if python3 -c 'import sys, transformers; sys.exit(not transformers.AutoTokenizer.from_pretrained(sys.argv[1]).chat_template)' \
    "$tokenizer" 2>/dev/null; then
    evaluate local-chat-completions chat/completions 4 "${tasks[-1]}" chat False --apply_chat_template
else
    echo "skipped: lm-eval's local-chat-completions (the model has no chat template)"
fi
if python3 -c 'import torch' 2>/dev/null; then
    lm_eval --model hf --tasks "${tasks[0]}" --include_path "$work" --output_path "$work/reference" --log_samples \
        --model_args "pretrained=$tokenizer,dtype=float32" --device cpu >"$work/reference.log" 2>&1 \
        || { cat "$work/reference.log"; exit 1; }
else
    echo "skipped: log-likelihoods against transformers (no torch)"
fi
python3 - "$work" <<'PYTHON'
import glob, json, os, sys
work = sys.argv[1]
def samples(name):
    found = {}
    for path in sorted(glob.glob(f"{work}/{name}/**/samples_*.jsonl", recursive=True)):
        task = path.split("samples_")[1].rsplit("_", 1)[0]
        for line in open(path):
            line = json.loads(line)
            found[task, line["doc_id"]] = line["resps"]
    return found
def fail(why):
    sys.exit(f"failed: {why}")
text, ids = samples("text-1"), samples("ids-1")
if not text or text.keys() != ids.keys():
    fail(f"{len(text)} samples of texts and {len(ids)} of ids")
if text != samples("text-16") or ids != samples("ids-16"):
    fail("the numbers depend on how many requests run at once")
compared, largest = 0, 0.0
if os.path.isdir(f"{work}/reference"):
    reference = samples("reference")
    for sample, expected in reference.items():
        for kind, answers in [("text", text), ("ids", ids)]:
            have = [answer[0] for answer in answers[sample]]
            want = [answer[0] for answer in expected]
            if len(have) != len(want):
                fail(f"{sample}: {len(have)} choices of {len(want)}")
            for (ours, our_greedy), (theirs, their_greedy) in zip(have, want):
                compared, largest = compared + 1, max(largest, abs(float(ours) - float(theirs)))
                if abs(float(ours) - float(theirs)) > 1e-3 or str(our_greedy) != str(their_greedy):
                    fail(f"{sample} as {kind}: {ours} {our_greedy}, but transformers has {theirs} {their_greedy}")
    if not compared:
        fail("nothing was compared with transformers")
print(f"ok: {len(text)} samples" + (f", {compared} log-likelihoods as transformers has them (largest difference {largest:.1e})" if compared else ""))
PYTHON
