"""OpenAI's agents against a running server: python openai_agents_client.py http://127.0.0.1:8080/v1

Needs `pip install openai-agents` and a model with a chat template and room for a thousand tokens. Both of its ways are
taken: /v1/responses, which is its default, and /v1/chat/completions.
"""

import asyncio
import sys

from agents import (Agent, ModelSettings, OpenAIChatCompletionsModel, OpenAIResponsesModel, RunConfig, Runner,
                    function_tool, set_tracing_disabled)
from openai import AsyncOpenAI
from pydantic import BaseModel, Field

set_tracing_disabled(True)
client = AsyncOpenAI(base_url=sys.argv[1], api_key="none")
called = []


class City(BaseModel):
    name: str = Field(max_length=8)


@function_tool
def weather(kind: int) -> str:
    """The weather of a kind."""
    called.append(kind)
    return "Sunny."


async def main():
    name = (await client.models.list()).data[0].id
    for kind in [OpenAIResponsesModel, OpenAIChatCompletionsModel]:
        model = kind(model=name, openai_client=client)
        settings = ModelSettings(extra_body={"seed": 7})
        agent = Agent(name="short", instructions="Be brief.", model=model, model_settings=settings)
        text = (await Runner.run(agent, "Hello")).final_output
        streamed = Runner.run_streamed(agent, "Hello")
        async for _ in streamed.stream_events():
            pass
        assert streamed.final_output == text, kind
        settings = ModelSettings(extra_body={"seed": 7})
        formed = Agent(name="formed", model=model, output_type=City, model_settings=settings)
        assert isinstance((await Runner.run(formed, "Tell me of a city.")).final_output, City), kind
        settings = ModelSettings(tool_choice="weather", extra_body={"seed": 7})
        caller = Agent(name="caller", model=model, tools=[weather], model_settings=settings,
                       tool_use_behavior="stop_on_first_tool")
        called.clear()
        assert (await Runner.run(caller, "The weather?", max_turns=2)).final_output == "Sunny." and called, kind


asyncio.run(main())
print("ok")
