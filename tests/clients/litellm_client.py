"""LiteLLM against a running server: python litellm_client.py http://127.0.0.1:8080/v1

Needs `pip install litellm` and a model with a chat template and room for a few hundred tokens. With `--embed` it must
make embeddings.
"""

import asyncio
import sys
import urllib.request
import json

import litellm
from pydantic import BaseModel, Field

litellm.telemetry = False
url = sys.argv[1]
with urllib.request.urlopen(f"{url}/models") as answer:
    model = "openai/" + json.load(answer)["data"][0]["id"]
same = dict(model=model, api_base=url, api_key="none", messages=[{"role": "user", "content": "Hello"}], seed=7,
            max_tokens=12)


class City(BaseModel):
    name: str = Field(max_length=8)


whole = litellm.completion(**same)
text = whole.choices[0].message.content
assert text is not None and whole.usage.completion_tokens <= 12
chunks = list(litellm.completion(**same, stream=True, stream_options={"include_usage": True}))
assert litellm.stream_chunk_builder(chunks).choices[0].message.content == text
assert asyncio.run(litellm.acompletion(**same)).choices[0].message.content == text
completed = litellm.text_completion(model="text-completion-openai/" + model.split("/", 1)[1], api_base=url,
                                    api_key="none", prompt="Once upon a time", max_tokens=8, seed=1)
assert completed.choices[0].text
hosted = litellm.completion(**{**same, "model": "hosted_vllm/" + model.split("/", 1)[1]})
assert hosted.choices[0].message.content == text

longer = {name: value for name, value in same.items() if name != "max_tokens"}
schema = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": {
    **City.model_json_schema(), "additionalProperties": False}}}
City.model_validate_json(litellm.completion(**longer, response_format=schema).choices[0].message.content)
City.model_validate_json(litellm.completion(**longer, response_format=City).choices[0].message.content)
tool = {"type": "function", "function": {"name": "weather", "parameters": City.model_json_schema()}}
named = {"type": "function", "function": {"name": "weather"}}
called = litellm.completion(**longer, tools=[tool], tool_choice=named).choices[0].message
City.model_validate_json(called.tool_calls[0].function.arguments)
history = [*same["messages"], called.model_dump(),
           {"role": "tool", "tool_call_id": called.tool_calls[0].id, "content": "Sunny."}]
litellm.completion(**{**same, "messages": history}, tools=[tool])

if "--embed" in sys.argv:
    vectors = litellm.embedding(model=model, api_base=url, api_key="none", input=["a cat", "a dog"])
    assert len(vectors.data) == 2

try:
    litellm.completion(**{**same, "messages": [{"role": "user", "content": "a " * 100_000}]})
    raise SystemExit("a long prompt was not refused")
except litellm.ContextWindowExceededError:
    pass
try:
    litellm.completion(**same, extra_body={"best_of": 3})
    raise SystemExit("best_of was not refused")
except litellm.BadRequestError as error:
    assert "best_of" in str(error)
print("ok")
