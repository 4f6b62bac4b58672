"""The official client against a running server: python openai_client.py http://127.0.0.1:8080/v1

Needs `pip install openai` and a model with a chat template.
"""

import sys

from openai import BadRequestError, OpenAI

client = OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
model = client.models.list().data[0].id

whole = client.completions.create(model=model, prompt="Once upon a time", max_tokens=16, seed=1, logprobs=2)
parts = client.completions.create(model=model, prompt="Once upon a time", max_tokens=16, seed=1, stream=True)
assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text
assert len(whole.choices[0].logprobs.tokens) == whole.usage.completion_tokens

choices = client.completions.create(model=model, prompt="Once upon a time", max_tokens=16, seed=1, n=3).choices
assert [choice.index for choice in choices] == [0, 1, 2]
assert choices[0].text == whole.choices[0].text

messages = [{"role": "user", "content": "Hello"}]
chat = client.chat.completions.create(model=model, messages=messages, max_completion_tokens=12, temperature=0)
events = client.chat.completions.create(
    model=model, messages=messages, max_completion_tokens=12, temperature=0, stream=True,
    stream_options={"include_usage": True})
text, usage = "", None
for event in events:
    usage = event.usage or usage
    for choice in event.choices:
        text += choice.delta.content or ""
assert text == chat.choices[0].message.content
assert usage.total_tokens == chat.usage.total_tokens

try:
    client.completions.create(model=model, prompt="a", suffix="b")
    raise SystemExit("a suffix was not refused")
except BadRequestError as error:
    assert error.param == "suffix"
print("ok")
