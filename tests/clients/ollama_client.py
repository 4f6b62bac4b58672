"""Ollama's client against a running server: python ollama_client.py http://127.0.0.1:8080

Needs `pip install ollama` and a model with a chat template. With `--tools` the model's template
must know tools; with `--embed` the model must make embeddings.
"""

import sys

from ollama import Client, ResponseError

client = Client(host=sys.argv[1].removesuffix("/v1"))
model = client.list().models[0].model
assert model.endswith(":latest")
options = {"seed": 7, "num_predict": 12}
messages = [{"role": "user", "content": "Hello"}]

whole = client.chat(model=model, messages=messages, options=options)
assert whole.done and whole.done_reason in ("stop", "length") and whole.message.role == "assistant"
assert whole.eval_count >= 1 and whole.prompt_eval_count >= 1 and whole.total_duration > 0
parts = list(client.chat(model=model.removesuffix(":latest"), messages=messages, options=options, stream=True))
assert "".join(part.message.content for part in parts) == whole.message.content
assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
assert (parts[-1].eval_count, parts[-1].done_reason) == (whole.eval_count, whole.done_reason)

# A prompt through the template is a conversation of one message.
generated = client.generate(model=model, prompt="Hello", options=options)
assert generated.response == whole.message.content
parts = client.generate(model=model, prompt="Hello", options=options, stream=True)
assert "".join(part.response for part in parts) == generated.response
raw = client.generate(model=model, prompt="Once upon a time", raw=True, options=options, logprobs=True, top_logprobs=2)
assert len(raw.logprobs) == raw.eval_count and len(raw.logprobs[0].top_logprobs) == 2
assert client.generate(model=model, system="Be brief.", prompt="Hello", options=options).done
assert client.generate(model=model, prompt="").done_reason == "load"

shown = client.show(model)
assert "completion" in shown.capabilities and shown.modelinfo["general.parameter_count"] > 0
assert client.ps().models[0].model == model

if "--tools" in sys.argv:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    tool = {"type": "function", "function": {"name": "weather", "description": "The weather", "parameters": schema}}
    calls = [{"function": {"name": "weather", "arguments": {"n": 1}}}]
    history = [*messages, {"role": "assistant", "content": "", "tool_calls": calls},
               {"role": "tool", "content": "sunny", "tool_name": "weather"}]
    assert client.chat(model=model, messages=history, tools=[tool], options=options).done
    formed = client.generate(model=model, prompt="Hello", format=schema, options={"seed": 7, "num_predict": 100})
    assert formed.response.startswith("{")

if "--embed" in sys.argv:
    vectors = client.embed(model=model, input=["Hello", "there"]).embeddings
    assert len(vectors) == 2 and list(client.embeddings(model=model, prompt="Hello").embedding) == list(vectors[0])

for refused in [{"options": {"mirostat": 2}}, {"options": {"num_ctx": 1 << 30}}, {"model": "another"}]:
    try:
        client.chat(**({"model": model, "messages": messages} | refused))
        raise SystemExit(f"{refused} was not refused")
    except ResponseError as error:
        assert error.status_code == (404 if "model" in refused else 400) and error.error, error
print("ok")
