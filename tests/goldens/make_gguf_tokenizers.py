"""Token ids by llama.cpp of tokenizers in GGUF files, as Verbatim's must give them for the same metadata.

Two small tokenizers are trained on the texts themselves. One is byte-level, and learned its merges without regard
to words, so that there is hardly a boundary between words that no merge crosses: each pre-tokenizer's own cuts show
in the ids. The other is SentencePiece's. Each is written as a GGUF file without tensors, once for each variant, and
llama.cpp says the ids. Names of one pre-tokenizer must agree here too, or the script fails.

With --real, NAME.ids.json is written beside each NAME.gguf of a folder instead: longer texts, and their ids by llama.cpp.
"""

import argparse
import json
import tempfile
import unicodedata
from pathlib import Path

import llama_cpp
import numpy as np
import sentencepiece
from gguf import GGUFWriter
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

CODE = '''fn main() {\r\n    let total: u64 = (0..1_000).map(|x| x * 0x1F + 12345).sum();\r\n\tprintln!("{total:>8} == {}", 3.14159e-10);\r\n}

def mean(values, *, digits=3):
    """The mean of `values`; None if there are none."""
    if not values: return None   # nothing
    return round(sum(values)/len(values), digits)


class HTTPServer2XML(BaseHandler):
\tpath = "/usr/local/bin:$HOME/.cache//*/../a_b-c"
\tassert x != y && (a <= b || ~c) ; z += 1; i++

        {"key": [1, 22, 333, 4444, 55555, null], "k\\"2": true}
<a href="https://example.org/?q=1&r=%20#top">It's 100% OK</a>
'''

# Composed already (NFC): models that compose text first give other ids otherwise, and llama.cpp does not compose.
MIXED = (
    "I'm you're he'll we'd they've IT'S don'T \u2018quoted\u2019 \u201ctwice\u201d \u2014 dash\u2026 (a|b) [c]{d}\n"
    "0 1 12 123 1234 12345 123456 1,000,000 3.5 \u00bd \u00b2 \u2167 \uff11\uff12\uff13 \u0661\u0662\u0663\n\n\n"
    "  two  three   four    tabs\t\t\tend \u00a0nbsp\u2003em\u3000wide \n \n  \n\t\n x\r\n\r\ny  \r\n   z\n"
    "caf\u00e9 na\u00efve \u00c5ngstr\u00f6m \u00dcn\u00efc\u00f6d\u00e9 \u01c5 \u0179D\u017a camelCaseWord XMLHttp ABCdef aBC\n"
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u8fd9\u662f2024\u5e74\u7684\u6d4b\u8bd5\uff01\u65e5\u672c\u8a9e\u306e"
    "\u30c6\u30ad\u30b9\u30c8\u3068\u30ab\u30bf\u30ab\u30ca \uc548\ub155\ud558\uc138\uc694 \uc138\uacc4\n"
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644"
    "\u0639\u0627\u0644\u0645\u060c \u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e "
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01 \u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd\n"
    "\U0001f642\U0001f643 \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f44d\U0001f3fd\U0001f1eb\U0001f1f7 \u2764\ufe0f \u2192\u221e\u20ac$\xa3 "
    "\U0001d518\U0001d52b\U0001d526 \U00010348 \ua66e \u200bzero\ufeff\n"
    "<tool>  <|end|>x <|end|><tool>\n<|end |> !!!??? ... --- ___ *** ### @@@ ~~ ^^ ``` ++ == a/b\n/c //\n   "
)

# The names that Verbatim knows, those that mean the same in one list.
NAMES = [
    ["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "glm4", "glm5"],
    ["dbrx", "smaug-bpe", "chatglm-bpe"],
    ["minicpm5"],
    ["qwen2", "deepseek-r1-qwen", "kormo", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"],
    ["qwen35"],
    ["laguna"],
    ["gpt-4o", "llama4", "kanana2", "minimax-m2"],
    ["tekken"],
    ["gpt-2", "phi-2", "jais", "trillion", "granite-docling", "exaone4", "gigachat", "a.x-4.0", "mellum", "olmo", "mpt"],
    ["smollm", "starcoder", "refact", "codeshell", "exaone", "minerva-7b", "mellum2", "command-r"],
    ["falcon"],
    ["default"],
    ["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
    ["deepseek-llm"],
    ["deepseek-coder"],
    ["bailingmoe", "bailingmoe2", "llada-moe"],
    ["seed-coder"],
    ["poro-chat", "bloom", "gpt3-finnish"],
    ["viking"],
]

# What llama.cpp cuts otherwise than the models' own files, and so is left out of the third text there: it knows no
# marks in words by these names, and no spaces but those of ASCII inside a range of characters.
LEFT_OUT = {
    "gpt-4o": lambda c: unicodedata.category(c).startswith("M"),
    "tekken": lambda c: unicodedata.category(c).startswith("M"),
    "deepseek-llm": lambda c: c in "\u2003\u3000",
    "deepseek-coder": lambda c: c in "\u2003\u3000",
}

# Patterns of the models' own files, by which Hugging Face's library says the ids of the whole third text.
CASES = [r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"]
SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
BEFORE = r"[^\r\n\p{L}\p{N}]?"
AFTER = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
OWN = {
    "gpt-4o": ["|".join(f"{BEFORE}{case}{SHORT}?" for case in CASES) + r"|\p{N}{1,3}" + AFTER],
    "tekken": ["|".join(f"{BEFORE}{case}" for case in CASES) + r"|\p{N}" + AFTER],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}"],
}


def write(path, fields):
    """A GGUF file without tensors."""
    writer = GGUFWriter(path, "llama")
    for key, value in fields.items():
        key = f"tokenizer.ggml.{key}"
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def ids_of_file(path, texts, special=True):
    """The ids of texts by llama.cpp, with what it puts before a text."""
    model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    return [model.tokenize(text.encode(), add_bos=True, special=special) for text in texts]


def ids(fields, texts, special=True):
    """As `ids_of_file`, for a file of these fields."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocabulary.gguf"
        write(path, fields)
        return ids_of_file(path, texts, special)


def own_ids(fields, patterns, text):
    """The ids of a text by Hugging Face's library."""
    vocabulary = {token: n for n, token in enumerate(fields["tokens"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [tuple(merge.split(" ")) for merge in fields["merges"]]))
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, letters])
    tokenizer.add_special_tokens(["<|end|>"])
    tokenizer.add_tokens(["<tool>"])
    return tokenizer.encode(text).ids


def byte_level(texts):
    """Tokens, their types, and merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=1900, min_frequency=1, initial_alphabet=alphabet, max_token_length=10, show_progress=False)
    # Seven spaces become one token, so that it shows where a run of spaces is cut.
    learned = [text.replace("<|end|>", "").replace("<tool>", "") for text in texts] + [" " * 7]
    tokenizer.train_from_iterator(learned, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    # A word that no merges lead to: three repeated words are tokens, their merges are left out.
    whole = ["\u0120citizens", "Resolved", "\u0120people"]
    merges = [pair for pair in model["merges"] if "".join(pair) not in whole]
    tokens += [word for word in whole if word not in tokens]
    types = [1] * len(tokens) + [3, 4]
    return tokens + ["<|end|>", "<tool>"], types, [" ".join(pair) for pair in merges]


def sentence_piece(texts):
    """Tokens, their types and their scores."""
    with tempfile.TemporaryDirectory() as folder:
        prefix = str(Path(folder) / "model")
        lines = [line for text in texts for line in text.replace("<|end|>", "").replace("<tool>", "").split("\n")]
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_prefix=prefix, model_type="bpe", vocab_size=1000, byte_fallback=True,
            character_coverage=0.98, user_defined_symbols=["<tool>"], control_symbols=["<|end|>"],
            normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2)
        model = sentencepiece.SentencePieceProcessor(model_file=f"{prefix}.model")
    tokens, types, scores = [], [], []
    for n in range(model.get_piece_size()):
        tokens.append(model.id_to_piece(n))
        scores.append(float(np.float32(model.get_score(n))))
        is_added = tokens[-1] == "<tool>"
        types.append(2 if model.is_unknown(n) else 3 if model.is_control(n) else 6 if model.is_byte(n) else 4 if is_added else 1)
    # As Gemma's: runs of spaces and of newlines that are matched before all else.
    for added in ["\n\n", "  ", "    "]:
        tokens.append(added), types.append(4), scores.append(-1000.0)
    return tokens, types, scores


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path, help="folder of test texts")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--real", type=Path, help="folder of GGUF files")
    args = parser.parse_args()
    assert unicodedata.is_normalized("NFC", MIXED)
    prose = (args.texts / "tinyshakespeare.txt").read_text()
    if args.real:
        texts = [prose[:60_000], CODE + Path(__file__).read_text(), MIXED]
        for path in sorted(args.real.glob("*.gguf")):
            found = {"texts": texts, "ids": ids_of_file(path, texts), "plain": ids_of_file(path, texts, special=False)}
            path.with_suffix(".ids.json").write_text(json.dumps(found))
        return
    prose = "\n".join(prose.split("\n")[:40]) + "\n"
    texts = [prose, CODE, MIXED]

    tokens, types, merges = byte_level(texts)
    fields = {"model": "gpt2", "tokens": tokens, "token_type": types, "merges": merges, "bos_token_id": len(tokens) - 2,
              "eos_token_id": len(tokens) - 2}
    pre_tokenizers_ids = []
    for names in NAMES:
        is_left_out = LEFT_OUT.get(names[0], lambda c: False)
        asked = texts[:2] + ["".join(c for c in MIXED if not is_left_out(c))]
        told = [ids(fields | {"pre": name, "add_bos_token": False}, asked) for name in names]
        # What the names of one list differ in beside the pattern: whether words are taken whole.
        kinds = []
        for name, found in zip(names, told):
            for kind in kinds:
                if kind["ids"] == found:
                    kind["names"].append(name)
                    break
            else:
                kinds.append({"names": [name], "ids": found})
        if len(kinds) > 1:
            raise SystemExit(f"these do not mean the same: {[kind['names'] for kind in kinds]}")
        begun = [ids(fields | {"pre": name}, [""])[0] for name in names]
        kinds[0]["adds_bos"] = [name for name, found in zip(names, begun) if found == [fields["bos_token_id"]]]
        kinds[0]["text"] = asked[2] if asked[2] != MIXED else None
        kinds[0]["own"] = own_ids(fields, OWN[names[0]], MIXED) if names[0] in OWN else None
        pre_tokenizers_ids += kinds
    plain = ids(fields | {"pre": "qwen2"}, texts[2:], special=False)

    pieces, piece_types, scores = sentence_piece(texts)
    piece_fields = {"model": "llama", "tokens": pieces, "token_type": piece_types, "scores": scores, "bos_token_id": 1,
                    "eos_token_id": 2, "unknown_token_id": 0}
    variants = [{}, {"add_space_prefix": False}, {"add_bos_token": False}]
    golden = {
        "llama_cpp": llama_cpp.__version__,
        "texts": texts,
        "byte_level": {"tokens": tokens, "types": types, "merges": merges, "bos": len(tokens) - 2, "plain": plain[0]},
        "sentence_piece": {"tokens": pieces, "types": piece_types, "scores": scores},
    }
    lists = {
        "pre_tokenizers": pre_tokenizers_ids,
        "variants": [{"fields": variant, "ids": ids(piece_fields | variant, texts)} for variant in variants],
    }
    lines = [f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in golden.items()]
    for key, entries in lists.items():
        body = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
        lines.append(f"{json.dumps(key)}: [\n{body}\n]")
    (args.out / "tokenizer_gguf.json").write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
