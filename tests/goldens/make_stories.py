"""Teacher-forced perplexity of stories260K by transformers in f32, on windows of fixed length from each text.

A text's first `bytes` bytes are tokenized in one piece without special tokens; window w is BOS followed by ids
[w * (window - 1), (w + 1) * (window - 1)). Each window's loss is the sum of -logprob over its window - 1 ids after BOS.
"""

import argparse
import json
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

import recipe

TEXTS = {"tinystories_sample.txt": 3600, "tinyshakespeare.txt": 8192}
WINDOW, WINDOWS, BOS = 256, 8, 1


@torch.no_grad()
def measure(model, ids):
    windows = []
    for w in range(min(WINDOWS, len(ids) // (WINDOW - 1))):
        row = [BOS] + ids[w * (WINDOW - 1):(w + 1) * (WINDOW - 1)]
        table = torch.log_softmax(model(torch.tensor([row])).logits[0].double(), dim=-1)
        scores = [float(table[p, row[p + 1]]) for p in range(WINDOW - 1)]
        positions = [0, 1, 2, 100, 200, WINDOW - 2]
        windows.append({
            "nll": recipe.digits(-sum(scores)),
            "logprobs": [[p, row[p + 1], recipe.digits(scores[p])] for p in positions],
        })
    return windows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder of stories260K")
    parser.add_argument("texts", type=Path, help="folder of the texts")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager").eval()
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    texts = []
    for name, size in TEXTS.items():
        text = (args.texts / name).read_bytes()[:size].decode()
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        windows = measure(model, ids)
        nll, count = sum(w["nll"] for w in windows), len(windows) * (WINDOW - 1)
        texts.append({
            "text": name, "bytes": size, "ids": len(ids), "first_ids": ids[:16], "scored": count, "nll": recipe.digits(nll),
            "perplexity": recipe.digits(torch.tensor(nll / count, dtype=torch.float64).exp()), "windows": windows})
    golden = {"torch": torch.__version__, "transformers": transformers.__version__, "window": WINDOW, "bos": BOS, "texts": texts}
    (args.out / "stories260k.json").write_text(json.dumps(golden, indent=1) + "\n")
    print([(t["text"], t["ids"], t["scored"], t["perplexity"]) for t in texts])


if __name__ == "__main__":
    main()
