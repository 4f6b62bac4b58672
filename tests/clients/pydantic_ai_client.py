"""Pydantic AI against a running server: python pydantic_ai_client.py http://127.0.0.1:8080/v1

Needs `pip install 'pydantic-ai-slim[openai]'` and a model with a chat template and room for a thousand tokens.
"""

import sys

from openai import OpenAI
from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

url = sys.argv[1]
name = OpenAI(base_url=url, api_key="none").models.list().data[0].id
provider = OpenAIProvider(base_url=url, api_key="none")
settings = {"extra_body": {"seed": 7}}


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=8)


for kind in [OpenAIChatModel, OpenAIResponsesModel]:
    model = kind(name, provider=provider)
    short = {**settings, "max_tokens": 12}
    agent = Agent(model, instructions="Be brief.", model_settings=short)
    text = agent.run_sync("Hello").output
    with_stream = agent.run_stream_sync("Hello")
    assert "".join(with_stream.stream_text(delta=True)) == text
    for output in [ToolOutput(City, name="city"), NativeOutput(City)]:
        formed = Agent(model, output_type=output, model_settings=settings, retries=0).run_sync("Tell me of a city.")
        assert isinstance(formed.output, City), (kind, output)
print("ok")
