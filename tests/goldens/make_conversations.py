"""Conversations as OpenAI's clients send them, rendered by transformers as its users would.

What a user does before the template is applied stands in `prepared`: arguments of calls that are JSON text become objects, content
that is null becomes empty. A case names the conversation as it is sent, and holds `rendered` or `error`.
"""

import argparse
import json
from pathlib import Path

import transformers
from transformers.utils.chat_template_utils import render_jinja_template

from make_templates import SPECIAL_TOKENS, TOOLS, template_of

NAMES = ("Llama-3.2-1B-Instruct", "Qwen2.5-0.5B-Instruct", "Qwen3-0.6B")
DATE = {"date_string": "01 Feb 2025"}


def call(name, arguments, index=0):
    return {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": arguments}}


ASK = {"role": "user", "content": "Weather in Zürich?"}
ONE = {"role": "assistant", "content": None, "tool_calls": [call("weather", '{"city": "Zürich", "days": 2, "exact": null}')]}
TWO = {"role": "assistant", "content": "I look.", "tool_calls": [
    call("weather", '{"city":"Zürich"}'), call("weather", '{"city":"<Bern>","days":1.5}', 1)]}
RESULT = {"role": "tool", "tool_call_id": "call_0", "name": "weather", "content": "{\"sky\": \"<grey> & 'wet'\"}"}
SECOND = {"role": "tool", "tool_call_id": "call_1", "content": "sunny\n"}
THOUGHT = {"role": "assistant", "reasoning_content": "I need the\nforecast.\n", **{k: v for k, v in ONE.items() if k != "role"}}
ANSWER = {"role": "assistant", "content": "It is grey."}
CONVERSATIONS = {
    "call": [ASK, ONE, RESULT],
    "answered": [ASK, ONE, RESULT, ANSWER, {"role": "user", "content": "And tomorrow?"}],
    "two_calls": [ASK, TWO, RESULT, SECOND],
    "thought": [ASK, THOUGHT, RESULT],
    "thought_long_ago": [ASK, THOUGHT, RESULT, ANSWER, {"role": "user", "content": "Thanks."}],
    "no_arguments": [ASK, {"role": "assistant", "content": "", "tool_calls": [call("now", "{}")]}, RESULT],
    "nested": [ASK, {"role": "assistant", "content": "", "tool_calls": [
        call("f", '{"a": {"b": [1, 2.0, true, null, "x\\n\\"y\\" é"]}, "c": []}')]}, RESULT],
}
CONTINUED = {
    "continued": [ASK, {"role": "assistant", "content": "It is"}],
    "continued_blanks": [ASK, {"role": "assistant", "content": "It is \n"}],
    "continued_twice": [{"role": "user", "content": "It is"}, {"role": "assistant", "content": "It is"}],
    "continued_thought": [ASK, {"role": "assistant", "content": "<think>\nHm,"}],
}


def prepared(messages):
    """Messages as templates expect them."""
    out = []
    for message in messages:
        message = json.loads(json.dumps(message))
        message["content"] = message.get("content") or ""
        for item in message.get("tool_calls", []):
            item["function"]["arguments"] = json.loads(item["function"]["arguments"])
        out.append(message)
    return out


def cases(name):
    """Yields (case name, messages, tools, keyword arguments)."""
    date = DATE if name.startswith("Llama") else {}
    for label, messages in CONVERSATIONS.items():
        for tools in (TOOLS, None):
            yield label, messages, tools, {"add_generation_prompt": True, **date}
    for label, messages in CONTINUED.items():
        yield label, messages, None, {"add_generation_prompt": False, "continue_final_message": True, **date}
    if name.startswith("Qwen3"):
        yield "call", CONVERSATIONS["call"], TOOLS, {"add_generation_prompt": True, "enable_thinking": False}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configs", type=Path, help="folder holding one folder per model")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    lines = []
    for name in NAMES:
        template = template_of(args.configs / name)
        tokens = SPECIAL_TOKENS[name]
        for label, messages, tools, kwargs in cases(name):
            case = {"template": name, "conversation": label, "tools": tools is not None, "kwargs": kwargs, "tokens": tokens}
            try:
                rendered, _ = render_jinja_template(
                    [prepared(messages)], tools=tools, chat_template=template, **kwargs, **tokens)
                case["rendered"] = rendered[0]
            except Exception as error:  # whatever a template raises is part of the golden
                case["error"] = f"{type(error).__name__}: {error}"
            lines.append(json.dumps(case, ensure_ascii=True))
    body = ",\n".join(lines)
    sent = json.dumps({"tools": TOOLS, "conversations": CONVERSATIONS | CONTINUED}, ensure_ascii=True)[1:-1]
    text = f'{{"transformers": "{transformers.__version__}", {sent}, "cases": [\n{body}\n]}}\n'
    (args.out / "conversations.json").write_text(text)


if __name__ == "__main__":
    main()
