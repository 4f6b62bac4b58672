"""Token ids and decoded text from `tokenizers`, as Verbatim's tokenizer must give them.

Reads each named tokenizer file below the folder of model configurations; writes one JSON file per tokenizer.
"""

import argparse
import json
from pathlib import Path

import tokenizers
from tokenizers import Tokenizer

TOKENIZERS = {
    "tinyllama": "TinyLlama-1.1B-Chat-v1.0/tokenizer.json",
    "qwen2.5": "Qwen2.5-0.5B-Instruct/tokenizer.rebuilt.json",
}

TEXTS = [
    "", " ", "  ", "\n", "\n\n\n", "\t", "\r\n", "a", " a", "a ", "  leading and trailing   ",
    "Hello, world!", "Hello,world", "The quick brown fox jumps over the lazy dog.",
    "a   b    c", "line one\nline two\n\n  indented\n", "tab\tseparated\tvalues\r\nCRLF line",
    "I'm, you're, he'll, we'd, they've, it's; I'M YOU'RE", "don’t “quote” — dash…",
    "0 1 12 123 1234 12345 3.14159 -2e10 1,000,000", "１２３ ½ ² Ⅷ",
    "fn main() {\n    println!(\"{}\", 1 << 3);\n}\n", "def f(x):\n\treturn x**2  # comment\n",
    "{\"key\": [1, 2.5, null], \"k\\\"2\": true}", "https://example.org/a?b=c&d=%20#frag",
    "!!!??? ... --- ___ *** ### @@@", "你好，世界。这是一个测试。", "日本語のテキストとカタカナ", "안녕하세요 세계",
    "Привет, мир", "مرحبا بالعالم", "नमस्ते दुनिया", "café naïve Ångström", "cafe\u0301 nai\u0308ve A\u030angstro\u0308m",
    "🙂🙃 👩‍👩‍👧‍👦 👍🏽 🇫🇷 ❤️", "a\u200bb\u00a0c\u2003d\ufeffe", "<s>hello</s>", "<|im_start|>user\nHi<|im_end|>\n",
    "<|im_start <|endoftext| <unk> <pad>", "<|endoftext|>  <|endoftext|>text", "▁under ▁▁ _ __",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "\u0000\u0001\u007f control", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 ꙮ",
]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configs", type=Path, help="folder holding one folder per model")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    for name, path in TOKENIZERS.items():
        tokenizer = Tokenizer.from_file(str(args.configs / path))
        cases = []
        for text in TEXTS:
            plain = tokenizer.encode(text, add_special_tokens=False).ids
            special = tokenizer.encode(text, add_special_tokens=True).ids
            cases.append({
                "text": text, "ids": plain, "ids_special": special,
                "decoded": tokenizer.decode(plain, skip_special_tokens=True),
                "decoded_special": tokenizer.decode(special, skip_special_tokens=True),
            })
        golden = {"tokenizer": path, "tokenizers": tokenizers.__version__, "cases": cases}
        lines = json.dumps(golden | {"cases": []}, ensure_ascii=True)[:-2]
        body = ",\n".join(json.dumps(case, ensure_ascii=True) for case in cases)
        (args.out / f"tokenizer_{name}.json").write_text(f"{lines}\n{body}\n]}}\n")


if __name__ == "__main__":
    main()
