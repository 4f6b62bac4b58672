"""The official client against a running server: python openai_client.py http://127.0.0.1:8080/v1

Needs `pip install openai` and a model with a chat template. With `--tools` the model must have room for a few hundred
tokens of prompt; calls and forms are demanded, so any such model makes them. With `--embed` it must make embeddings,
with `--batch` the server must have a folder of batches.
"""

import asyncio
import base64
import io
import json
import struct
import sys
import time

import httpx
from openai import APIConnectionError, AsyncOpenAI, BadRequestError, NotFoundError, OpenAI, UnprocessableEntityError
from pydantic import BaseModel, Field

url = sys.argv[1]
requests = []
client = OpenAI(base_url=url, api_key="none", max_retries=2,
                http_client=httpx.Client(event_hooks={"request": [requests.append]}, timeout=300))
model = client.models.list().data[0].id
assert client.models.retrieve(model).id == model


class City(BaseModel):
    name: str = Field(max_length=8)
    inhabitants: int = Field(ge=0, le=99)


def completions():
    whole = client.completions.create(model=model, prompt="Once upon a time", max_tokens=16, seed=1, logprobs=2)
    parts = client.completions.create(model=model, prompt="Once upon a time", max_tokens=16, seed=1, stream=True)
    assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text
    assert len(whole.choices[0].logprobs.tokens) == whole.usage.completion_tokens
    choices = client.completions.create(model=model, prompt="Once upon a time", max_tokens=16, seed=1, n=3).choices
    assert [choice.index for choice in choices] == [0, 1, 2]
    assert choices[0].text == whole.choices[0].text
    echoed = client.completions.create(model=model, prompt="Once upon", max_tokens=0, echo=True, logprobs=1)
    assert echoed.choices[0].text == "Once upon" and echoed.choices[0].logprobs.token_logprobs[0] is None
    many = client.completions.create(model=model, prompt=["a", "b", [5, 6]], max_tokens=2, n=2, seed=3)
    assert [choice.index for choice in many.choices] == list(range(6))


def chat():
    same = dict(model=model, messages=[{"role": "user", "content": "Hello"}], max_completion_tokens=12, temperature=0)
    whole = client.chat.completions.create(**same)
    events = client.chat.completions.create(**same, stream=True, stream_options={"include_usage": True})
    text, usage = "", None
    for event in events:
        usage = event.usage or usage
        for choice in event.choices:
            text += choice.delta.content or ""
    assert text == whole.choices[0].message.content
    assert usage.total_tokens == whole.usage.total_tokens
    # The helper that puts a stream together.
    with client.chat.completions.stream(**same) as stream:
        kinds = {event.type for event in stream}
        # The final completion is an error where the answer was cut.
        assert stream.current_completion_snapshot.choices[0].message.content == text
    assert {"chunk", "content.delta", "content.done"} <= kinds
    listed = client.chat.completions.create(**same, logprobs=True, top_logprobs=2)
    assert len(listed.choices[0].logprobs.content[0].top_logprobs) == 2
    parts = [{"type": "text", "text": "Hello"}]
    longer = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    assert client.chat.completions.create(model=model, messages=longer, max_tokens=2).usage.completion_tokens <= 2


async def asynchronous():
    async with AsyncOpenAI(base_url=url, api_key="none") as other:
        same = dict(model=model, prompt="Once upon a time", max_tokens=12, seed=5)
        alone = (await other.completions.create(**same)).choices[0].text
        crowd = await asyncio.gather(*(other.completions.create(**same) for _ in range(8)))
        assert all(answer.choices[0].text == alone for answer in crowd)
        parts = [part.choices[0].text async for part in await other.completions.create(**same, stream=True)]
        assert "".join(parts) == alone


def forms():
    messages = [{"role": "user", "content": "Tell me of a city."}]
    same = dict(model=model, messages=messages, seed=1)
    parsed = client.chat.completions.parse(**same, response_format=City)
    assert isinstance(parsed.choices[0].message.parsed, City)
    with client.chat.completions.stream(**same, response_format=City) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == parsed.choices[0].message.parsed
    free = client.chat.completions.create(**same, response_format={"type": "json_object"})
    assert free.choices[0].message.content.startswith("{")


def tools():
    function = {"name": "weather", "description": "The weather", "parameters": City.model_json_schema()}
    same = dict(model=model, messages=[{"role": "user", "content": "The weather in Rome?"}], seed=1,
                tools=[{"type": "function", "function": function}],
                tool_choice={"type": "function", "function": {"name": "weather"}})
    whole = client.chat.completions.create(**same)
    call = whole.choices[0].message.tool_calls[0]
    assert whole.choices[0].finish_reason in ("stop", "tool_calls") and call.function.name == "weather"
    City.model_validate_json(call.function.arguments)
    with client.chat.completions.stream(**same) as stream:
        streamed = stream.get_final_completion().choices[0].message.tool_calls[0]
    assert (streamed.id, streamed.function.arguments) == (call.id, call.function.arguments)
    history = [*same["messages"], whole.choices[0].message,
               {"role": "tool", "tool_call_id": call.id, "content": "Sunny."}]
    client.chat.completions.create(model=model, messages=history, tools=same["tools"], max_tokens=4)
    demanded = client.chat.completions.create(**{**same, "tool_choice": "required", "parallel_tool_calls": False})
    assert len(demanded.choices[0].message.tool_calls) == 1
    without = client.chat.completions.create(**{**same, "tool_choice": "none"}, max_tokens=4)
    assert not without.choices[0].message.tool_calls


def embeddings():
    # The client asks for base64 unless it is told otherwise.
    by_default = client.embeddings.create(model=model, input=["a cat", "a dog"]).data
    floats = client.embeddings.create(model=model, input=["a cat", "a dog"], encoding_format="float").data
    assert [entry.index for entry in floats] == [0, 1] and len(floats) == len(by_default) == 2
    assert all(abs(a - b) < 1e-6 for x, y in zip(by_default, floats) for a, b in zip(x.embedding, y.embedding))
    raw = client.embeddings.with_raw_response.create(model=model, input="a cat", encoding_format="base64")
    bits = base64.b64decode(json.loads(raw.text)["data"][0]["embedding"])
    assert struct.unpack(f"<{len(bits) // 4}f", bits)[0] == struct.unpack("<f", struct.pack("<f", floats[0].embedding[0]))[0]


def batches():
    lines = [{"custom_id": f"r{i}", "method": "POST", "url": "/v1/chat/completions",
              "body": {"model": model, "messages": [{"role": "user", "content": f"Say {i}"}], "max_tokens": 4}}
             for i in range(6)]
    lines.append({**lines[0], "custom_id": "wrong", "body": {"model": model}})
    text = "\n".join(json.dumps(line) for line in lines)
    file = client.files.create(file=("in.jsonl", io.BytesIO(text.encode())), purpose="batch")
    assert client.files.retrieve(file.id).filename == "in.jsonl" and file.id in [f.id for f in client.files.list()]
    assert client.files.content(file.id).text == text

    def ended(batch):
        while batch.status not in ("completed", "failed", "cancelled"):
            time.sleep(0.05)
            batch = client.batches.retrieve(batch.id)
        return batch

    same = dict(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    batch = ended(client.batches.create(**same, metadata={"a": "b"}))
    counts = batch.request_counts
    assert (batch.status, counts.total, counts.completed, counts.failed) == ("completed", 7, 6, 1), batch
    answers = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    assert [answer["custom_id"] for answer in answers] == [f"r{i}" for i in range(6)]
    error = json.loads(client.files.content(batch.error_file_id).text)
    assert error["custom_id"] == "wrong" and error["response"]["status_code"] == 400
    # The same request, sent alone with the seed that the answer tells.
    body = answers[3]["response"]["body"]
    alone = client.chat.completions.create(**lines[3]["body"], seed=body["verbatim"]["seed"])
    assert alone.choices[0].message.content == body["choices"][0]["message"]["content"]
    again = ended(client.batches.create(**same))
    assert batch.id in [b.id for b in client.batches.list(limit=2)] and again.id != batch.id
    texts = [[json.loads(line)["response"]["body"]["choices"] for line in client.files.content(b.output_file_id).text.splitlines()]
             for b in (batch, again)]
    assert texts[0] == texts[1]
    wrong = ended(client.batches.create(**{**same, "endpoint": "/v1/completions"}))
    assert wrong.status == "failed" and wrong.errors.data[0].code == "mismatched_url"
    try:
        client.batches.cancel(batch.id)
        raise SystemExit("a batch that has ended was cancelled")
    except BadRequestError:
        pass
    assert client.files.delete(file.id).deleted


def errors():
    requests.clear()
    for wrong, name in [({"suffix": "b"}, "suffix"), ({"temperature": -1}, "temperature"), ({"n": 0}, "n")]:
        try:
            client.completions.create(model=model, prompt="a", **wrong)
            raise SystemExit(f"{name} was not refused")
        except (BadRequestError, UnprocessableEntityError) as error:
            assert error.param == name and error.request_id, error
    assert len(requests) == 3, "what is wrong with a request is not sent again"
    try:
        client.completions.create(model="another", prompt="a")
        raise SystemExit("another model was not refused")
    except NotFoundError as error:
        assert error.code == "model_not_found"
    try:
        client.completions.create(model=model, prompt=[5] * 20_000)
        raise SystemExit("a long prompt was not refused")
    except BadRequestError as error:
        assert error.code == "context_length_exceeded" and "maximum context length is" in error.message
    # Nobody listens there: the client tries again and gives up.
    requests.clear()
    try:
        client.with_options(base_url="http://127.0.0.1:9/v1").models.list()
        raise SystemExit("somebody listens at port 9")
    except APIConnectionError:
        assert len(requests) == 3


completions()
chat()
asyncio.run(asynchronous())
errors()
if "--tools" in sys.argv:
    forms()
    tools()
if "--embed" in sys.argv:
    embeddings()
if "--batch" in sys.argv:
    batches()
print("ok")
