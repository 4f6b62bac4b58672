"""Anthropic's client against a running server: python anthropic_client.py http://127.0.0.1:8080

Needs `pip install anthropic` and a model with a chat template. With `--tools` the model's template
must know tools; calls are demanded, so any such model makes them.
"""

import sys

from anthropic import Anthropic, BadRequestError, NotFoundError

url = sys.argv[1].removesuffix("/v1")
client = Anthropic(base_url=url, api_key="none", max_retries=0)
model = client.models.list().data[0].id
messages = [{"role": "user", "content": "Hello"}]
same = dict(model=model, max_tokens=12, messages=messages, extra_body={"seed": 7, "return_token_ids": True})

whole = client.messages.create(**same)
assert whole.type == "message" and whole.role == "assistant" and whole.model == model
assert whole.stop_reason in ("end_turn", "max_tokens"), whole.stop_reason
assert whole.usage.output_tokens >= 1
text = "".join(block.text for block in whole.content if block.type == "text")

# The same message as a stream, by the helper that puts it together and as raw events.
with client.messages.stream(**same) as stream:
    assert "".join(stream.text_stream) == text
    final = stream.get_final_message()
assert [block.model_dump() for block in final.content] == [block.model_dump() for block in whole.content]
assert (final.stop_reason, final.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)
events = list(client.messages.create(**same, stream=True))
assert events[0].type == "message_start" and events[-1].type == "message_stop"
assert events[-2].verbatim["token_ids"] == whole.verbatim["token_ids"]
assert events[-2].usage.input_tokens + events[-2].usage.cache_read_input_tokens > 0

# Blocks, a system's text, and a turn of the assistant's.
longer = client.messages.create(
    model=model, max_tokens=4, extra_body={"temperature": 0}, system=[{"type": "text", "text": "Be brief."}],
    messages=[*messages, {"role": "assistant", "content": [{"type": "text", "text": "Hi."}]},
              {"role": "user", "content": [{"type": "text", "text": "Who are you?"}]}])
assert longer.usage.output_tokens >= 1

counted = client.messages.count_tokens(model=model, messages=messages)
first = whole.usage.input_tokens + whole.usage.cache_read_input_tokens
assert counted.input_tokens == first, (counted, whole.usage)

# A stop sequence ends the text before itself.
if len(text) > 3:
    stopped = client.messages.create(**same, stop_sequences=[text[2:4]])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", text[2:4])

if "--tools" in sys.argv:
    schema = {"type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}}, "required": ["city"],
              "additionalProperties": False}
    tools = [{"name": "weather", "description": "The weather in a city", "input_schema": schema}]
    asked = dict(model=model, max_tokens=200, tools=tools,
                 tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
                 messages=[{"role": "user", "content": "How is the weather in Rome?"}], extra_body={"seed": 1, "temperature": 1})
    answer = client.messages.create(**asked)
    call = next(block for block in answer.content if block.type == "tool_use")
    assert answer.stop_reason == "tool_use" and call.name == "weather" and call.input["city"] in ("Rome", "Oslo")
    with client.messages.stream(**asked) as stream:
        streamed = next(block for block in stream.get_final_message().content if block.type == "tool_use")
    assert (streamed.id, streamed.input) == (call.id, call.input)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Sunny, 20 degrees."}
    history = [*asked["messages"], {"role": "assistant", "content": answer.content},
               {"role": "user", "content": [result]}]
    client.messages.create(model=model, max_tokens=8, tools=tools, messages=history)

try:
    client.messages.create(model=model, max_tokens=4, messages=messages, extra_body={"mcp_servers": [{"url": "x"}]})
    raise SystemExit("mcp_servers was not refused")
except BadRequestError as error:
    assert error.body["error"]["type"] == "invalid_request_error" and "mcp_servers" in error.message
    assert error.request_id
try:
    client.messages.create(model="another", max_tokens=4, messages=messages)
    raise SystemExit("another model was not refused")
except NotFoundError as error:
    assert error.body["error"]["type"] == "not_found_error"
print("ok")
