"""Who may ask a front, and how much: the file of `verbatim serve --api-key-file`.

A line has NAME KEY [requests-per-minute=N] [tokens-per-minute=N] [concurrent=N], or a KEY alone;
`#` begins a comment. Engines cannot check it, since answers from the cache never reach one.
"""

import hmac
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from verbatim_ray.errors import Refused

QUOTAS = ("requests-per-minute", "tokens-per-minute", "concurrent")


@dataclass
class Key:
    """One key with its quotas; each front counts for itself."""

    name: str
    secret: bytes
    quotas: dict[str, int] = field(default_factory=dict)
    running: int = 0
    # What was used since `minute`, by quota.
    used: dict[str, int] = field(default_factory=dict)
    minute: float = 0.0

    def begin(self) -> None:
        """Counts a request that begins. Raises Refused (429) where a quota is spent."""
        now = time.monotonic()
        if now - self.minute >= 60:
            self.minute, self.used = now, {}
        state = {**self.used, "concurrent": self.running}
        for quota, most in self.quotas.items():
            if state.get(quota, 0) >= most:
                rest = 1.0 if quota == "concurrent" else self.minute + 60 - now
                raise Refused(429, "rate_limit_exceeded", f"the quota {quota} is spent", rest)
        self.running += 1
        self.used["requests-per-minute"] = self.used.get("requests-per-minute", 0) + 1

    def end(self, tokens: int) -> None:
        """Counts its end, and the tokens of prompt and output."""
        self.running -= 1
        self.used["tokens-per-minute"] = self.used.get("tokens-per-minute", 0) + tokens


class Keys:
    """All keys; with none of them everybody may ask."""

    def __init__(self, keys: list[Key]) -> None:
        self._keys = keys

    @classmethod
    def read(cls, path: str | None) -> "Keys":
        """Reads a file. Raises ValueError, which names the line that makes no sense."""
        lines = Path(path).read_text().splitlines() if path else []
        keys = []
        for number, line in enumerate(lines, 1):
            words = list(itertools.takewhile(lambda word: not word.startswith("#"), line.split()))
            if not words:
                continue
            name, secret, *rest = words if len(words) > 1 else (f"key{number}", words[0])
            quotas = dict(word.partition("=")[::2] for word in rest)
            if wrong := [
                at for at, most in quotas.items() if at not in QUOTAS or not most.isdecimal()
            ]:
                raise ValueError(f"{path}:{number}: {wrong[0]} is not one of {', '.join(QUOTAS)}=N")
            keys.append(Key(name, secret.encode(), {at: int(most) for at, most in quotas.items()}))
        if path and not keys:
            raise ValueError(f"{path}: there is no key in the file")
        return cls(keys)

    def find(self, headers: Mapping[str, str]) -> Key | None:
        """Whose request it is. Raises Refused (401) if nobody's; None where there are no keys."""
        if not self._keys:
            return None
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        brought = bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        found = [at for at in self._keys if hmac.compare_digest(at.secret, brought.encode())]
        if not found:
            message = "the API key is missing or wrong (Authorization: Bearer KEY, or x-api-key)"
            raise Refused(401, "invalid_api_key", message)
        return found[0]
