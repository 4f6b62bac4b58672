"""A line of a batch: what it asks for, its seed and its name, and the line that answers it.

The format is that of OpenAI's Batch API. Names and seeds are those of the command `verbatim batch`,
so that a cluster writes the bytes that one machine writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

URLS = ("/v1/completions", "/v1/chat/completions", "/v1/embeddings")
"""The endpoints that a line may be for."""

CUSTOM_ID_MAX = 512
"""Characters of a `custom_id`, at most."""

QUOTED = 100
"""Characters of an input that an error quotes, at most."""


_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""Half of the escape of a character beyond U+FFFF. Without the other half it is no character."""


class LineError(ValueError):
    """A line is no request. The message says which field is wrong and what it must be."""

    def __init__(
        self, code: str, param: str | None, message: str, custom_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.param, self.custom_id = code, param, custom_id


@dataclass(frozen=True)
class Line:
    """A request of a batch."""

    name: str
    """The same whenever the same bytes are read: the answer's ids are made of it."""
    custom_id: str
    """What its sender calls it, of 1 to `CUSTOM_ID_MAX` characters."""
    url: str
    """One of `URLS`."""
    body: dict[str, Any]
    """What is sent there. It has a seed, if answers to it depend on one."""


def quote(value: object) -> str:
    """A value as JSON for an error's message, shortened to `QUOTED` characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= QUOTED else text[: QUOTED - 1] + "…"


def _integer(digits: str) -> int | float:
    """The number that the server reads: beyond 64 bits, and for minus zero, a float."""
    number = int(digits) if len(digits) < 40 else float(digits)
    return number if -(2**63) <= number < 2**64 and digits != "-0" else float(digits)


def _float(number: float) -> str:
    """A float as the server writes it, which is as Python does but for small exponents."""
    text = repr(number)
    if text.endswith("e-05"):
        sign, digits = re.fullmatch(r"(-?)([\d.]+)e-05", text).groups()  # type: ignore[union-attr]
        return f"{sign}0.0000{digits.replace('.', '')}"
    return re.sub(r"e-0(\d)$", r"e-\1", text)


def canonical(value: object) -> str:
    """The JSON that the server writes for a value: no blanks, members in their order, UTF-8."""
    if isinstance(value, Mapping):
        return (
            "{"
            + ",".join(
                f"{canonical(str(name))}:{canonical(member)}" for name, member in value.items()
            )
            + "}"
        )
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, float):
        return _float(value)
    return json.dumps(value, ensure_ascii=False)


def seed_of(custom_id: str, body: Mapping[str, Any]) -> int:
    """The seed of a line that gives none, below 2^53: a hash of its name and of what it asks."""
    called = custom_id.encode()
    hasher = blake3(len(called).to_bytes(8, "little"))
    hasher.update(called)
    hasher.update(canonical(body).encode())
    return int.from_bytes(hasher.digest()[:8], "big") >> 11


def name_of(text: str) -> str:
    """The name of the line with this text, without its end.

    Bytes that are no UTF-8 count as they are, where they were read by `surrogateescape`.
    """
    return str(blake3(text.encode(errors="surrogateescape")).hexdigest()[:24])


def _text(line: Mapping[str, Any], field: str, custom_id: str | None) -> str:
    value = line.get(field)
    if isinstance(value, str):
        return value
    if value is None:
        raise LineError("missing_required_parameter", field, f"{field} is missing", custom_id)
    raise LineError(
        "invalid_type", field, f"{field} must be a string, found {quote(value)}", custom_id
    )


def read(text: str) -> Line:
    """The request in a line of JSON; a `LineError` where there is none."""
    try:
        text.encode()
        line = json.loads(text, parse_int=_integer, parse_constant=_no_number)
        if _HALF.search(text):  # a pair has two of them, and is text
            json.dumps(line, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise LineError(
            "invalid_json_line", None, f"the line is not JSON: {error}"[:QUOTED]
        ) from None
    if not isinstance(line, dict):
        raise LineError(
            "invalid_json_line", None, f"the line must be an object, found {quote(line)}"
        )
    custom_id = _text(line, "custom_id", None)
    if not 1 <= len(custom_id) <= CUSTOM_ID_MAX:
        message = f"custom_id must have 1 to {CUSTOM_ID_MAX} characters, found {len(custom_id)}"
        raise LineError("invalid_custom_id", "custom_id", message, custom_id[:CUSTOM_ID_MAX])
    if (method := _text(line, "method", custom_id)) != "POST":
        raise LineError(
            "invalid_method", "method", f"method must be POST, found {method[:QUOTED]}", custom_id
        )
    if (url := _text(line, "url", custom_id)) not in URLS:
        message = f"url must be one of {', '.join(URLS)}, found {url[:QUOTED]}"
        raise LineError("invalid_url", "url", message, custom_id)
    body = line.get("body")
    if not isinstance(body, dict):
        raise LineError("missing_required_parameter", "body", "body must be an object", custom_id)
    if url != "/v1/embeddings" and body.get("seed") is None:
        try:
            body = {**body, "seed": seed_of(custom_id, body)}
        except RecursionError:
            message = "the body has lists in lists, or objects, too deep"
            raise LineError("invalid_json_line", "body", message, custom_id) from None
    return Line(name_of(text), custom_id, url, body)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def answered(line: Line, status: int, body: bytes) -> str:
    """The line, without its end, for what an endpoint sent, less what tells of the moment."""
    # A quotation mark inside of a text is escaped, so these patterns find nothing but members.
    body = re.sub(rb'"created":\d+', b'"created":0', body, count=1)
    body = re.sub(rb',"prompt_tokens_details":\{[^{}]*\}', b"", body)
    identity, called, request = (
        canonical(t) for t in (f"batch_req_{line.name}", line.custom_id, f"req_{line.name}")
    )
    return (
        f'{{"id":{identity},"custom_id":{called},"response":{{"status_code":{status},'
        f'"request_id":{request},"body":{body.decode()}}},"error":null}}'
    )


def refused(text: str, error: LineError) -> str:
    """The line, without its end, for one that is no request."""
    told = {"code": error.code, "message": str(error), "param": error.param}
    name = f"batch_req_{name_of(text)}"
    return canonical({"id": name, "custom_id": error.custom_id, "response": None, "error": told})


def _without_nulls(value: Any) -> Any:
    """A value less members that are null, as tables fill in what only other rows have."""
    if isinstance(value, dict):
        return {
            name: _without_nulls(member) for name, member in value.items() if member is not None
        }
    return [_without_nulls(member) for member in value] if isinstance(value, list) else value


def of_row(row: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    """The line of JSON for a row of a data set.

    A row has `line`, such a line as it is; or `custom_id` (or `id`) beside `body` and `url`; or
    beside `messages` or `prompt`, and `seed` if it likes: `parameters` is then the rest of the
    body. Raises a `LineError` otherwise.
    """
    if isinstance(row.get("line"), str):
        return str(row["line"])
    called = row["custom_id"] if row.get("custom_id") is not None else row.get("id")
    if called is None:
        raise LineError(
            "missing_required_parameter", "custom_id", "a row needs a column custom_id, id or line"
        )
    line: dict[str, Any] = {"custom_id": str(called), "method": "POST"}
    if row.get("body") is not None:
        body = (
            row["body"] if isinstance(row["body"], str) else canonical(_without_nulls(row["body"]))
        )
        return f'{canonical(line)[:-1]},"url":{canonical(row.get("url"))},"body":{body}}}'
    for column, url in (("messages", URLS[1]), ("prompt", URLS[0])):
        if row.get(column) is not None:
            seed = {"seed": row["seed"]} if row.get("seed") is not None else {}
            asked = {column: _without_nulls(row[column]), **parameters, **seed}
            return canonical({**line, "url": url, "body": asked})
    message = f"the row {quote(str(called))} needs a column messages, prompt, or body and url"
    raise LineError("missing_required_parameter", "prompt", message, str(called))
