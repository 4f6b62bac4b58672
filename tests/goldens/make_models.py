"""Goldens of small random-weight models: logprobs and greedy ids from transformers, f32 and bf16, eager attention.

One JSON file per model holds the recipe of its weights (see recipe.py), its config.json and what transformers makes of it.
"""

import argparse
import json
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

import recipe

BASE = {
    "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "vocab_size": 1000, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "hidden_act": "silu",
    "tie_word_embeddings": False, "torch_dtype": "float32", "bos_token_id": 1, "eos_token_id": 2,
}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 256}
LLAMA, MISTRAL, QWEN2, QWEN3 = (
    {"model_type": kind, "architectures": [arch]} for kind, arch in (
        ("llama", "LlamaForCausalLM"), ("mistral", "MistralForCausalLM"),
        ("qwen2", "Qwen2ForCausalLM"), ("qwen3", "Qwen3ForCausalLM")))
DTYPE = {"torch_dtype": None, "dtype": "float32"}  # the newer spelling

# name: (changes to BASE, shards, prompt length)
MODELS = {
    "llama_odd_mha": (LLAMA | {
        "hidden_size": 48, "intermediate_size": 200, "num_attention_heads": 2, "num_key_value_heads": 2,
        "rope_theta": 10000.0, "rope_scaling": None, "attention_bias": False, "mlp_bias": False}, 1, 40),
    "llama_mqa_tied_theta": (LLAMA | {
        "num_key_value_heads": 1, "tie_word_embeddings": True, "rope_theta": 500000.0, "rope_scaling": None}, 1, 40),
    "llama_theta_parameters": (LLAMA | DTYPE | {
        "head_dim": 40, "num_hidden_layers": 3, "rope_parameters": {"rope_type": "default", "rope_theta": 250000.0}}, 2, 40),
    "llama_llama3_scaling": (LLAMA | {
        "head_dim": 32, "tie_word_embeddings": True, "rope_theta": 500000.0, "rope_scaling": LLAMA3}, 1, 1600),
    "llama_llama3_parameters": (LLAMA | DTYPE | {
        "head_dim": 24, "rope_parameters": LLAMA3 | {"rope_theta": 100000.0}}, 1, 400),
    "llama_biases": (LLAMA | {"attention_bias": True, "mlp_bias": True, "rope_theta": 10000.0}, 1, 40),
    "mistral_gqa": (MISTRAL | {
        "hidden_size": 96, "num_attention_heads": 6, "rope_theta": 1000000.0, "sliding_window": None}, 3, 40),
    "qwen2_tied": (QWEN2 | {
        "tie_word_embeddings": True, "rope_theta": 1000000.0, "rope_scaling": None, "use_sliding_window": False}, 1, 1600),
    "qwen3_untied": (QWEN3 | DTYPE | {
        "hidden_size": 80, "head_dim": 32, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
        "attention_bias": False, "use_sliding_window": False}, 2, 40),
}
NEW_IDS = 32
MARGIN = 1e-3


def rules(config):
    """Scales of uniform weights in [-scale, scale): attention sharp enough to be uneven, logits of deviation 1 to 3."""
    tied = config["tie_word_embeddings"]
    return [
        {"suffix": "norm.weight", "kind": "norm", "scale": 0.25},
        {"suffix": "embed_tokens.weight", "kind": "uniform", "scale": 0.5 if tied else 1.0},
        {"suffix": "lm_head.weight", "kind": "uniform", "scale": 0.5},
        {"suffix": "q_proj.weight", "kind": "uniform", "scale": 0.125},
        {"suffix": "k_proj.weight", "kind": "uniform", "scale": 0.125},
        {"suffix": ".bias", "kind": "uniform", "scale": 0.25},
        {"suffix": ".weight", "kind": "uniform", "scale": 0.25},
    ]


def build(config, seed):
    """The model with the recipe's weights, and (name, array) of each tensor that its files hold."""
    fields = {key: value for key, value in config.items() if key != "model_type"}
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(config["model_type"], **fields), attn_implementation="eager", dtype=torch.float32)
    tensors = []
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            array = recipe.weights(seed, name, tuple(parameter.shape), recipe.rule_for(name, rules(config)))
            parameter.copy_(torch.from_numpy(array))
            tensors.append((name, array))
    return model.eval(), tensors


@torch.no_grad()
def logprobs(model, ids):
    """log-softmax in f64 of the model's logits, one row a position."""
    return torch.log_softmax(model(torch.tensor([ids]), use_cache=False).logits[0].double(), dim=-1)


@torch.no_grad()
def greedy(model, prompt):
    """Greedy ids and the least distance between the best and the second logprob."""
    ids, margin, cache, step = list(prompt), float("inf"), None, list(prompt)
    for _ in range(NEW_IDS):
        out = model(torch.tensor([step]), past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        best = torch.log_softmax(out.logits[0, -1].double(), dim=-1).topk(2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        step = [int(best.indices[0])]
        ids += step
    return ids[len(prompt):], margin


def observe(table, ids, positions):
    """What row `position` predicts: its five best, and the id that follows."""
    found = []
    for position in positions:
        best = table[position].topk(5)
        found.append({
            "position": position,
            "top": [[int(i), recipe.digits(v)] for i, v in zip(best.indices, best.values)],
            "next": [ids[position + 1], recipe.digits(table[position, ids[position + 1]])],
        })
    return found


def golden(changes, shards, length):
    config = {key: value for key, value in (BASE | changes).items() if value is not None or key in ("rope_scaling", "sliding_window")}
    for seed in range(1, 200):
        model, tensors = build(config, seed)
        prompt = recipe.prompt_ids(seed, length, config["vocab_size"])
        new_ids, margin = greedy(model, prompt)
        if margin > MARGIN and len(set(new_ids)) > NEW_IDS // 4:
            break
    else:
        raise SystemExit("no seed gives a robust greedy text")
    ids = prompt + new_ids
    table = logprobs(model, ids)
    start = length - 1
    positions = sorted({0, 1, 2, 7, length // 3, length // 2, length - 10, length - 2} | {p for p in (255, 256, 1023, 1500, 1550) if p < length})
    generated = list(range(start, start + NEW_IDS))
    half = logprobs(model.to(torch.bfloat16), ids)
    chosen = [(p, i) for p in positions + generated for i in {ids[p + 1], *table[p].topk(5).indices.tolist()}]
    change = [abs(float(half[p, i] - table[p, i])) for p, i in chosen]
    return {
        "torch": torch.__version__, "transformers": transformers.__version__,
        "config": config, "seed": seed, "scales": rules(config), "shards": shards,
        "tensors": [[name, list(array.shape)] for name, array in tensors],
        "weights_check": [
            {"name": name, "first": [float(v) for v in array.flat[:4]], "sum": float(array.astype("float64").sum())}
            for name, array in tensors[:1] + tensors[len(tensors) // 2:len(tensors) // 2 + 2] + tensors[-2:]],
        "prompt_ids": prompt, "logit_std": recipe.digits(table[positions].std(dim=-1).mean()),
        "positions": observe(table, ids, positions),
        "greedy": {"ids": new_ids, "margin": recipe.digits(margin), "logprobs": [recipe.digits(table[p, ids[p + 1]]) for p in generated]},
        "bf16": {
            "positions": observe(half, ids, positions),
            "logprobs": [recipe.digits(half[p, ids[p + 1]]) for p in generated],
            "max_delta": recipe.digits(max(change)), "mean_delta": recipe.digits(sum(change) / len(change)),
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="models to make; all if none is named")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.names or MODELS:
        made = golden(*MODELS[name])
        body = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in made.items())
        (args.out / f"model_{name}.json").write_text("{\n" + body + "\n}\n")
        print(name, "seed", made["seed"], "margin", made["greedy"]["margin"], "std", made["logit_std"],
              "distinct", len(set(made["greedy"]["ids"])), "bf16", made["bf16"]["max_delta"], made["bf16"]["mean_delta"])


if __name__ == "__main__":
    main()
