"""LlamaIndex against a running server: python llama_index_client.py http://127.0.0.1:8080/v1

Needs `pip install llama-index-llms-openai-like llama-index-embeddings-openai-like` and a model with a chat template and
room for a few hundred tokens. With `--embed` it must make embeddings.
"""

import asyncio
import sys

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from openai import OpenAI
from pydantic import BaseModel, Field

url = sys.argv[1]
model = OpenAI(base_url=url, api_key="none").models.list().data[0].id
same = dict(model=model, api_base=url, api_key="none", is_chat_model=True, is_function_calling_model=True,
            context_window=2048, additional_kwargs={"seed": 7})
llm = OpenAILike(**same, max_tokens=12)
messages = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="Hello")]


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=8)


def weather(kind: int) -> str:
    """The weather of a kind."""
    return f"It is weather {kind}."


whole = llm.chat(messages).message.content
assert [part for part in llm.stream_chat(messages)][-1].message.content == whole
assert asyncio.run(llm.achat(messages)).message.content == whole
assert llm.complete("Hello").text
plain = OpenAILike(**{**same, "is_chat_model": False}, max_tokens=8)
text = plain.complete("Once upon a time").text
assert [part for part in plain.stream_complete("Once upon a time")][-1].text == text

longer = OpenAILike(**same)
formed = longer.as_structured_llm(City).chat([ChatMessage(role="user", content="Tell me of a city.")])
assert isinstance(formed.raw, City)
tool = FunctionTool.from_defaults(weather)
answer = longer.chat_with_tools([tool], user_msg="The weather?", tool_required=True)
calls = longer.get_tool_calls_from_response(answer, error_on_no_tool_call=True)
assert calls[0].tool_name == "weather" and isinstance(calls[0].tool_kwargs["kind"], int)

if "--embed" in sys.argv:
    from llama_index.embeddings.openai_like import OpenAILikeEmbedding

    embeddings = OpenAILikeEmbedding(model_name=model, api_base=url, api_key="none")
    assert len(embeddings.get_text_embedding_batch(["a cat", "a dog"])) == 2
print("ok")
