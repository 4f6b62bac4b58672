"""Instructor against a running server: python instructor_client.py http://127.0.0.1:8080/v1

Needs `pip install instructor` and a model with a chat template and room for a few hundred tokens.
"""

import sys

import instructor
from openai import OpenAI
from pydantic import BaseModel, ConfigDict, Field

client = OpenAI(base_url=sys.argv[1], api_key="none")
model = client.models.list().data[0].id


class City(BaseModel):
    """A city."""

    # Where more names are allowed, a small model may go on with them for ever.
    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=8)
    inhabitants: int = Field(ge=0, le=99)


modes = ["TOOLS", "TOOLS_STRICT", "JSON_SCHEMA"]
for mode in modes:
    wrapped = instructor.from_openai(client, mode=instructor.Mode[mode])
    same = dict(model=model, messages=[{"role": "user", "content": "Tell me of a city."}], max_retries=0, seed=1)
    city = wrapped.chat.completions.create(**same, response_model=City)
    assert isinstance(city, City), mode
    # A stream of parts asks for another class, so its city is another.
    parts = list(wrapped.chat.completions.create_partial(**same, response_model=City))
    assert isinstance(parts[-1].inhabitants, int), mode
print("ok:", ", ".join(modes))
