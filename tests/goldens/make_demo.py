"""What transformers makes of the built-in model: greedy ids and logprobs (f32 weights and KV) for chats and plain text.

    python make_demo.py        # needs torch and transformers; writes demo.json
"""

import json
import pathlib

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = pathlib.Path(__file__).parent
MODEL = HERE.parent.parent / "host-linux" / "demo" / "model"
CHATS = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [{"role": "user", "content": "What is 17 + 25?"}],
    [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "What is Verbatim?"}],
    [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "Hello! Ask me."}, {"role": "user", "content": "80 - 9?"}],
    [{"role": "user", "content": "Tell me a story about a fox."}],
    [{"role": "user", "content": "How do I sort a list in Python?"}],
]
TEXTS = ["The capital of France is", "Once upon a time", "3 + 4 ="]


def main():
    torch.set_grad_enabled(False)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    cases = []
    for chat in CHATS:
        rendered = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(rendered, add_special_tokens=False).input_ids
        cases.append({"messages": chat, "rendered": rendered, "prompt_ids": ids})
    cases += [{"text": text, "prompt_ids": tokenizer(text).input_ids} for text in TEXTS]
    for case in cases:
        ids = list(case["prompt_ids"])
        new, logprobs = [], []
        while len(new) < 40 and (not new or new[-1] != tokenizer.eos_token_id):
            row = torch.log_softmax(model(torch.tensor([ids])).logits[0, -1].double(), -1)
            new.append(int(row.argmax()))
            logprobs.append(round(float(row[new[-1]]), 8))
            ids.append(new[-1])
        case |= {"ids": new, "logprobs": logprobs, "answer": tokenizer.decode(new, skip_special_tokens=True)}
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    (HERE / "demo.json").write_text("[\n" + lines + "\n]\n")


if __name__ == "__main__":
    main()
