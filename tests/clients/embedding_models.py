#!/usr/bin/env python3
"""Makes small random embedding models as sentence-transformers publishes them, each in a folder of its own.

    pip install sentence-transformers
    python3 tests/clients/embedding_models.py FOLDER TOKENIZER

They have the shapes of Qwen3-Embedding (norms of queries and keys, an end token behind every text, pooled at the last token)
and of Llama. TOKENIZER is a folder with a tokenizer.json, such as host-linux/demo/model. sentence-transformers itself writes
modules.json and the configuration of the pooling, so that what is read is what the installed version writes.
"""

import json
import pathlib
import sys

import torch
from sentence_transformers import SentenceTransformer, models
from transformers import AutoTokenizer, LlamaConfig, LlamaModel, Qwen3Config, Qwen3Model

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 1024,
    "initializer_range": 0.1,
}
END = "<|end|>"
# Name, shape, pooling, whether vectors have length 1, and whether a text ends with a token of its own.
MODELS = [
    ("qwen3-last", "qwen3", "lasttoken", True, True),
    ("qwen3-mean", "qwen3", "mean", False, False),
    ("llama-mean", "llama", "mean", True, False),
    ("llama-cls", "llama", "cls", False, False),
]


def transformer(folder: pathlib.Path, source: str, shape: str, ends: bool) -> None:
    """Writes a random model and its tokenizer to `folder`."""
    folder.mkdir(parents=True)
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.eos_token = tokenizer.pad_token = END
    # With a template sentence-transformers would render texts as messages, which published models do not do.
    tokenizer.chat_template = None
    if ends:
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        number = tokenizer.convert_tokens_to_ids(END)
        state["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": END, "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {END: {"id": END, "ids": [number], "tokens": [END]}},
        }
        tokenizer._tokenizer = type(tokenizer.backend_tokenizer).from_str(json.dumps(state))
    tokenizer.save_pretrained(folder)
    kind, config = (Qwen3Model, Qwen3Config) if shape == "qwen3" else (LlamaModel, LlamaConfig)
    torch.manual_seed(29)
    model = kind(config(vocab_size=len(tokenizer), **SIZES))
    for name, weights in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weights, 0.5, 1.5)
    model.eval().save_pretrained(folder)


def main() -> int:
    out, source = pathlib.Path(sys.argv[1]), sys.argv[2]
    for name, shape, pooling, has_length_1, ends in MODELS:
        bare = out / f"{name}-bare"
        transformer(bare, source, shape, ends)
        modules = [models.Transformer(str(bare), max_seq_length=1024)]
        modules.append(models.Pooling(SIZES["hidden_size"], pooling_mode=pooling))
        if has_length_1:
            modules.append(models.Normalize())
        SentenceTransformer(modules=modules, device="cpu").save(str(out / name))
        print(out / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
