"""Chat templates rendered by transformers' own renderer, as Verbatim's must render them.

Each case holds everything the rendering depends on, and either `rendered` or `error`. Templates come from the folder of
model configurations; the special tokens are those of the models, given here where a folder has no tokenizer.
"""

import argparse
import json
from pathlib import Path

import transformers
from transformers.utils.chat_template_utils import render_jinja_template

SPECIAL_TOKENS = {
    "Llama-3.2-1B-Instruct": {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
    "Mistral-7B-Instruct-v0.2": {"bos_token": "<s>", "eos_token": "</s>"},
    "Qwen2.5-0.5B-Instruct": {"eos_token": "<|im_end|>"},
    "Qwen3-0.6B": {"eos_token": "<|im_end|>"},
    "SmolLM2-135M-Instruct": {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"},
    "TinyLlama-1.1B-Chat-v1.0": {"bos_token": "<s>", "eos_token": "</s>"},
    "TinyLlama-1.1B-Chat-v1.0/edgecluster": {"bos_token": "<s>", "eos_token": "</s>"},
}
WITH_TOOLS = ("Llama-3.2-1B-Instruct", "Qwen2.5-0.5B-Instruct", "Qwen3-0.6B")


def message(role, content, **rest):
    return {"role": role, "content": content, **rest}


SYSTEM = message("system", "You are terse.")
HELLO = message("user", "Hello!")
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich", "days": 2}}}
CONVERSATIONS = {
    "user": [HELLO],
    "system_user": [SYSTEM, HELLO],
    "multi_turn": [HELLO, message("assistant", "Hi. How can I help?"), message("user", "Count to 3.")],
    "system_multi_turn": [SYSTEM, HELLO, message("assistant", "Hi."), message("user", "Bye.")],
    "trailing_assistant": [HELLO, message("assistant", "Well,")],
    "special_characters": [message("user", "<b>Tom & \"Jerry's\"</b> {{ x }} {% if %} \\n <|im_end|> </s>")],
    "unicode_and_newlines": [message("system", "  Sois précis.\n"), message("user", "\n\n你好 👩‍👩‍👧\n\tline two  \n")],
    "empty_content": [message("user", "")],
    "thinking": [HELLO, message("assistant", "<think>\nA greeting.\n</think>\n\nHi."), message("user", "Again.")],
    "reasoning_last": [HELLO, message("assistant", "Hi.", reasoning_content="A greeting.")],
    "two_users": [HELLO, message("user", "Anyone?")],
}
TOOL_CONVERSATION = [
    SYSTEM, message("user", "Weather in Zürich?"), message("assistant", "", tool_calls=[CALL]),
    message("tool", "{\"sky\": \"<grey> & 'wet'\"}"),
]
TOOLS = [{"type": "function", "function": {
    "name": "weather", "description": "The weather's forecast for <city> & around, e.g. Zürich.",
    "parameters": {"type": "object", "required": ["city"], "properties": {
        "city": {"type": "string"}, "days": {"type": "integer", "default": 1, "minimum": 0.5}, "exact": {"type": "boolean", "default": False}}}}}]


def template_of(folder):
    file = folder / "chat_template.jinja"
    if file.exists():
        return file.read_text()
    return json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]


def cases_of(name):
    """Yields (case name, messages, tools, keyword arguments)."""
    date = {"date_string": "01 Feb 2025"} if name.startswith("Llama-3.2") else {}
    for label, messages in CONVERSATIONS.items():
        for prompt in (False, True):
            yield label, messages, None, {"add_generation_prompt": prompt, **date}
    if name.startswith("Qwen3"):
        for label in ("user", "multi_turn", "thinking"):
            for thinking in (False, True):
                yield label, CONVERSATIONS[label], None, {"add_generation_prompt": True, "enable_thinking": thinking}
    if name in WITH_TOOLS:
        for label, messages in (("tools", [SYSTEM, HELLO]), ("tools_no_system", [HELLO]), ("tool_result", TOOL_CONVERSATION)):
            yield label, messages, TOOLS, {"add_generation_prompt": True, **date}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configs", type=Path, help="folder holding one folder per model")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    for name, tokens in SPECIAL_TOKENS.items():
        cases = []
        template = template_of(args.configs / name)
        for label, messages, tools, kwargs in cases_of(name):
            case = {"template": name, "case": label, "messages": messages, "tools": tools, "kwargs": kwargs, "tokens": tokens}
            try:
                rendered, _ = render_jinja_template([messages], tools=tools, chat_template=template, **kwargs, **tokens)
                case["rendered"] = rendered[0]
            except Exception as error:  # whatever a template raises is part of the golden
                case["error"] = f"{type(error).__name__}: {error}"
            cases.append(case)
        body = ",\n".join(json.dumps(case, ensure_ascii=True) for case in cases)
        text = f'{{"transformers": "{transformers.__version__}", "cases": [\n{body}\n]}}\n'
        (args.out / f"templates_{name.replace('/', '_')}.json").write_text(text)


if __name__ == "__main__":
    main()
