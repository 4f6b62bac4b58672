"""How a front behaves."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FrontOptions:
    """How a front behaves."""

    hedge_s: float | None = 2.0
    """Silence between two tokens after which a second engine is asked too; None: never."""
    first_hedge_s: float = 20.0
    """The same before the first token, when a long prompt may be computed."""
    attempts: int = 4
    """Engines that may fail one after the other without a token between, before the client is
    told. It bounds what a request that kills engines can do."""
    wait_s: float = 20.0
    """Seconds that a request waits for a replica that may be asked."""
    fingerprint: str | None = None
    """The only fingerprint that may answer. None: streams keep to that of their first token."""
    cache: str | None = "memory"
    """Where answers are kept: see `cache.open_cache`."""
    cache_bytes: int = 256 << 20
    """What they may take together, where the store does not decide that itself."""
    api_key_file: str | None = None
    """See `keys`. None: everybody may ask."""
    interval_ms: int = 0
    """`stream_options.interval_ms` of streams that do not set it: fewer and larger events."""
    max_body_bytes: int = 16 << 20
    """Bytes of a request's body, at most."""
