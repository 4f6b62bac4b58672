"""Trains the demonstration model on the text of corpus.py and writes it to model/, as a Hugging Face folder.

    pip install torch transformers tokenizers safetensors
    python train.py            # continues from checkpoint.pt where there is one; about an hour on two cores
    python train.py --score    # counts the right answers of model/ to what training never saw

Everything is seeded and each step draws its text from its own number, so a run that was interrupted goes on as if it had not
been. The progress is in loss.csv: step, tokens seen, loss, tokens per second.
"""

import argparse, csv, json, math, os, pathlib, time

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import corpus

HERE = pathlib.Path(__file__).parent
MODEL = HERE / "model"
SEED = 7
STEPS = 3600
# (first step, rows, tokens a row): short rows first, then what a conversation of some turns needs.
SCHEDULE = [(0, 32, 128), (2700, 16, 256), (3300, 8, 512)]
PEAK_RATE, WARMUP = 3e-3, 200
READ_WEIGHT = 0.1  # of the loss on what a user says, beside 1 for what the model says

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}{{ raise_exception('a message is from system, user or assistant') }}{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] | trim + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def make_tokenizer():
    """Byte-level BPE in which every digit is a token of its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    writer = corpus.Writer(SEED)
    texts = ["".join(text for text, _ in writer.document()) for _ in range(40000)]
    # Made-up words should stay in pieces, while every capital deserves a token: the names are shown more often than they come up.
    texts += [f" {name}" for pair in corpus.CAPITALS.items() for name in pair for _ in range(300)]
    special = ["<s>", corpus.END, corpus.USER, corpus.ASSISTANT, corpus.SYSTEM]
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=2048, special_tokens=[AddedToken(t, special=True, normalized=False) for t in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token=corpus.END, chat_template=TEMPLATE, model_max_length=512,
                                   clean_up_tokenization_spaces=False)


def make_model(vocabulary):
    torch.manual_seed(SEED)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=vocabulary, hidden_size=160, intermediate_size=448, num_hidden_layers=4, num_attention_heads=5, num_key_value_heads=1,
        head_dim=32, max_position_embeddings=512, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=True, initializer_range=0.05,
        bos_token_id=0, eos_token_id=1, pad_token_id=None, attn_implementation="sdpa"))


class Batches:
    """Rows of tokens with the weight of each token in the loss; step s is drawn from (SEED, s) alone."""

    def __init__(self, tokenizer):
        self.encode, self.known = tokenizer.backend_tokenizer.encode, {}

    def tokens(self, span):
        """The ids of a span; a special token ends every span, so spans are tokenized apart."""
        if span not in self.known:
            if len(self.known) > 200000:
                self.known.clear()
            self.known[span] = self.encode(span, add_special_tokens=False).ids
        return self.known[span]

    def at(self, step):
        _, rows, length = [part for part in SCHEDULE if part[0] <= step][-1]
        writer = corpus.Writer(SEED * 1_000_003 + step)
        ids, weights = torch.zeros(rows, length + 1, dtype=torch.long), torch.zeros(rows, length + 1)
        for row in range(rows):
            line, weight = [], []
            while len(line) <= length:
                line, weight = line + [0], weight + [0.0]
                for text, learned in writer.document():
                    span = self.tokens(text)
                    line, weight = line + span, weight + [1.0 if learned else READ_WEIGHT] * len(span)
            ids[row], weights[row] = torch.tensor(line[: length + 1]), torch.tensor(weight[: length + 1])
        return ids, weights


def rate(step):
    return PEAK_RATE * min(1.0, (step + 1) / WARMUP) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / STEPS))))


def train():
    tokenizer = make_tokenizer()
    model = make_model(len(tokenizer))
    print(sum(p.numel() for p in model.parameters()), "parameters,", len(tokenizer), "tokens")
    decayed = [p for p in model.parameters() if p.dim() > 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05}, {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0}],
                                  lr=PEAK_RATE, betas=(0.9, 0.98), fused=True)
    batches, start, seen = Batches(tokenizer), 0, 0
    checkpoint = HERE / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start, seen = state["step"], state["seen"]
    progress = HERE / "loss.csv"
    # What was logged after the checkpoint is run again, and logged again.
    before = [row for row in csv.reader(progress.open()) if row[0].isdigit() and int(row[0]) <= start] if start else []
    log = progress.open("w", newline="")
    rows = csv.writer(log)
    rows.writerows([["step", "tokens", "loss", "tokens_per_second"], *before])
    log.flush()
    since, tokens, losses = time.time(), 0, []
    for step in range(start, STEPS):
        ids, weights = batches.at(step)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        each = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        weight = weights[:, 1:].flatten()
        loss = (each * weight).sum() / weight.sum()
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        tokens, losses = tokens + weight.numel(), losses + [loss.item()]
        if (step + 1) % 50 == 0:
            seen += tokens
            rows.writerow([step + 1, seen, f"{sum(losses) / len(losses):.4f}", f"{tokens / (time.time() - since):.0f}"])
            log.flush()
            since, tokens, losses = time.time(), 0, []
        if (step + 1) % 500 == 0:
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1, "seen": seen}, HERE / "checkpoint.new")
            os.replace(HERE / "checkpoint.new", checkpoint)
            write(model, tokenizer)


def write(model, tokenizer):
    """The folder that Verbatim embeds: bf16 weights, and answers that are greedy unless a request says otherwise."""
    copy = make_model(len(tokenizer))
    copy.load_state_dict(model.state_dict())
    copy.to(torch.bfloat16).save_pretrained(MODEL)
    tokenizer.save_pretrained(MODEL)
    (HERE / "held_out.json").write_text(json.dumps(corpus.held_out(), indent=1) + "\n")
    (MODEL / "generation_config.json").write_text(json.dumps({"bos_token_id": 0, "eos_token_id": 1, "do_sample": False, "temperature": 0.0}, indent=2) + "\n")


def score():
    """Counts the right answers to the sums and the phrasings that are not in the text."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(MODEL)
    model = LlamaForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    held = corpus.held_out()

    def answer(question, plain=False):
        text = "<s>" + question if plain else f"<s>{corpus.USER}{question}{corpus.END}{corpus.ASSISTANT}"
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        out = model.generate(**ids, max_new_tokens=60, do_sample=False, pad_token_id=1)
        return tokenizer.decode(out[0, ids.input_ids.shape[1]:], skip_special_tokens=True)

    for form in ["What is {} + {}?", "{}+{}"]:
        right = sum(answer(form.format(a, b)).endswith(f"= {a + b}") for a, b in held["sums"])
        print(f"{right} of {len(held['sums'])} sums ({form})")
    for phrasing in held["phrasings"]:
        right = sum(answer(phrasing.format(country)) == f"The capital of {country} is {city}." for country, city in held["capitals"].items())
        print(f"{right} of {len(held['capitals'])} capitals ({phrasing})")
    for question in ["Who is the president of France?", "How do I sort a list in Python?", "Write a haiku about autumn.", "What is Verbatim?", "Hello", "Tell me a story about a fox.",
                     "What can you do?", "What is 7 times 8?", "asdf", "What is the boiling point of water?"]:
        print(question, "->", answer(question))
    print("The capital of France is ->", answer("The capital of France is", plain=True))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--score", action="store_true")
    score() if arguments.parse_args().score else train()
