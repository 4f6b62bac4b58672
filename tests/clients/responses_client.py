"""OpenAI's client at /v1/responses of a running server: python responses_client.py http://127.0.0.1:8080/v1

Needs `pip install openai` and a model with a chat template. With `--tools` the model's template
must know tools; calls are demanded, so any such model makes them.
"""

import json
import sys

from openai import BadRequestError, OpenAI

client = OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
model = client.models.list().data[0].id
same = dict(model=model, input="Hello", max_output_tokens=12,
            extra_body={"seed": 7, "return_token_ids": True})

whole = client.responses.create(**same, instructions="Be brief.", metadata={"a": "b"}, store=True)
assert whole.object == "response" and whole.status in ("completed", "incomplete")
assert (whole.status == "incomplete") == (whole.incomplete_details is not None)
assert whole.metadata == {"a": "b"} and whole.instructions == "Be brief."
assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens
assert whole.output[-1].type == "message" and whole.output_text == whole.output[-1].content[0].text

# The same as a stream, and as the same conversation in chat.
whole = client.responses.create(**same)
events = list(client.responses.create(**same, stream=True))
assert [event.sequence_number for event in events] == list(range(len(events)))
assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
last = events[-1].response
assert text == whole.output_text == last.output_text
assert events[-1].type == f"response.{whole.status}"
assert last.verbatim["token_ids"] == whole.verbatim["token_ids"]
chat = client.chat.completions.create(
    model=model, messages=[{"role": "user", "content": "Hello"}], max_completion_tokens=12,
    extra_body={"seed": 7, "return_token_ids": True})
assert chat.choices[0].token_ids == whole.verbatim["token_ids"]
if whole.status == "completed":
    with client.responses.stream(**same) as stream:
        assert stream.get_final_response().output_text == text

# Probabilities.
listed = client.responses.create(**same, include=["message.output_text.logprobs"], top_logprobs=2)
logprobs = listed.output[-1].content[0].logprobs
assert logprobs and len(logprobs[0].top_logprobs) == 2
events = client.responses.create(**same, include=["message.output_text.logprobs"], top_logprobs=2, stream=True)
last = list(events)[-1].response
assert last.output[-1].content[0].logprobs == logprobs

# Items: what was answered goes back as it came.
history = [{"role": "user", "content": "Hello"}, *whole.output,
           {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "And now?"}]}]
assert client.responses.create(model=model, input=history, max_output_tokens=4).usage.output_tokens >= 1

if "--tools" in sys.argv:
    schema = {"type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}}, "required": ["city"],
              "additionalProperties": False}
    tools = [{"type": "function", "name": "weather", "description": "The weather", "parameters": schema, "strict": True}]
    question = {"role": "user", "content": "How is the weather in Rome?"}
    asked = dict(model=model, input=[question], tools=tools, tool_choice={"type": "function", "name": "weather"},
                 parallel_tool_calls=False, temperature=1, extra_body={"seed": 1})
    answer = client.responses.create(**asked)
    call = next(item for item in answer.output if item.type == "function_call")
    with client.responses.stream(**asked) as stream:
        streamed = next(item for item in stream.get_final_response().output if item.type == "function_call")
    assert (streamed.call_id, streamed.arguments) == (call.call_id, call.arguments)
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny, 20 degrees."}
    client.responses.create(model=model, input=[question, *answer.output, output], tools=tools, max_output_tokens=8)
    schema = {"type": "json_schema", "name": "city", "schema": schema, "strict": True}
    formed = client.responses.create(model=model, input="Rome", text={"format": schema}, temperature=1, extra_body={"seed": 1})
    assert formed.status == "incomplete" or json.loads(formed.output_text)["city"] in ("Rome", "Oslo")

for refused in [{"previous_response_id": "resp_1"}, {"background": True}, {"truncation": "auto"},
                {"tools": [{"type": "web_search"}]}, {"include": ["web_search_call.results"]}]:
    try:
        client.responses.create(model=model, input="Hello", **refused)
        raise SystemExit(f"{refused} was not refused")
    except BadRequestError as error:
        name = next(iter(refused))
        assert error.param and error.param.startswith(name) and name in error.message, error
print("ok")
