"""LangChain's client for OpenAI against a running server: python langchain_client.py http://127.0.0.1:8080/v1

Needs `pip install langchain-openai` and a model with a chat template and room for a few hundred tokens. With `--embed`
it must make embeddings.
"""

import asyncio
import sys

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from openai import OpenAI as Client
from pydantic import BaseModel, Field

url = sys.argv[1]
model = Client(base_url=url, api_key="none").models.list().data[0].id
same = dict(model=model, base_url=url, api_key="none", seed=7)
chat = ChatOpenAI(**same, max_tokens=12)
messages = [SystemMessage("Be brief."), HumanMessage("Hello")]


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=8)


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"It is sunny in {city}."


whole = chat.invoke(messages)
assert isinstance(whole, AIMessage) and whole.usage_metadata["output_tokens"] <= 12
assert "".join(part.content for part in chat.stream(messages)) == whole.content
assert asyncio.run(chat.ainvoke(messages)).content == whole.content
assert [answer.content for answer in chat.batch([messages] * 4)] == [whole.content] * 4
assert OpenAI(**same, max_tokens=8).invoke("Once upon a time")

longer = ChatOpenAI(**same)
for method in ["json_schema", "function_calling"]:
    assert isinstance(longer.with_structured_output(City, method=method).invoke("Tell me of a city."), City), method
assert isinstance(longer.with_structured_output(City.model_json_schema(), method="json_mode").invoke("JSON"), dict)
bound = longer.bind_tools([City], tool_choice="City")
called = bound.invoke("The weather in Rome?")
assert called.tool_calls[0]["name"] == "City", called
history = [HumanMessage("The weather in Rome?"), called, ToolMessage("Sunny.", tool_call_id=called.tool_calls[0]["id"])]
chat.bind_tools([weather]).invoke(history)
streamed = None
for part in bound.stream("The weather in Rome?"):
    streamed = part if streamed is None else streamed + part
assert streamed.tool_calls[0]["args"] == called.tool_calls[0]["args"]

if "--embed" in sys.argv:
    # It sends token ids of its own tokenizer unless it is told not to.
    embeddings = OpenAIEmbeddings(model=model, base_url=url, api_key="none", check_embedding_ctx_length=False)
    assert len(embeddings.embed_documents(["a cat", "a dog"])) == 2
    assert embeddings.embed_query("a cat") == embeddings.embed_documents(["a cat"])[0]
print("ok")
