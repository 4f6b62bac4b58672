"""The arguments of the application: `name=value` for `serve run`, `args:` in a file."""

from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    """What replicas and fronts are told. Each front has all of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model: str | None = Field(None, description="As for `verbatim --model`; None: the built-in.")
    binary: str | None = Field(None, description="The program; None: see `binary.find`.")
    args: str | list[str] = Field("", description="Further flags of `verbatim serve`.")
    replicas: int = Field(2, ge=1, description="Replicas, or the fewest where there is a most.")
    max_replicas: int | None = Field(None, ge=1, description="Lets Ray scale up to so many.")
    streams_per_replica: int = Field(8, ge=1, description="What scaling aims at.")
    threads: int = Field(1, ge=1, description="Threads and Ray CPUs of a replica.")
    max_replicas_per_node: int | None = Field(None, ge=1, description="None: any number.")
    drain_s: int = Field(60, ge=1, description="Seconds for streams of a replica that leaves.")
    slack: int = Field(4, ge=0, description="Requests that a prefix is worth: see `router`.")
    affinity: bool = Field(True, description="False spreads requests, to compare with.")
    fronts: int = Field(1, ge=1, description="Fronts.")
    front_resources: dict[str, float] = Field({}, description="Ray resources that place fronts.")
    front_cpus: float = Field(0.5, ge=0, description="Ray CPUs of a front.")
    hedge_s: float | None = Field(
        2.0,
        ge=0,
        description="Silence between two tokens after which a second engine is asked; 0: never.",
    )
    first_hedge_s: float = Field(
        20.0,
        gt=0,
        description="The same before the first token, when a long prompt may be computed.",
    )
    attempts: int = Field(
        4,
        ge=1,
        description="Engines that may fail one after the other without a token between, before the "
        "client is told. It bounds what a request that kills engines can do.",
    )
    wait_s: float = Field(
        20.0,
        gt=0,
        description="Seconds that a request waits for a replica that may be asked, and a stream "
        "that was cut for one that has room.",
    )
    fingerprint: str | None = Field(
        None,
        min_length=1,
        description="The only one that may answer; None: streams keep to that of their first.",
    )
    cache: str | None = Field("memory", description="See `cache.open_cache`; empty: none.")
    cache_bytes: int = Field(
        256 << 20, ge=0, description="Of all answers, where the store does not decide that itself."
    )
    # An empty name is refused: it would let everybody in where a variable is not set.
    api_key_file: str | None = Field(
        None, min_length=1, description="See `keys`; None: everybody may ask."
    )
    interval_ms: int = Field(
        0,
        ge=0,
        le=10_000,
        description="`stream_options.interval_ms` of streams that do not set it.",
    )
    max_body_bytes: int = Field(16 << 20, ge=1, description="Bytes of a request's body, at most.")
    max_json_values: int = Field(
        500_000,
        ge=1,
        description="JSON values and names of a body, at most: as `--max-json-nodes` of a server, "
        "which allows 4 for each token of its context.",
    )
    max_bodies_bytes: int = Field(
        256 << 20, ge=1, description="Bytes of the bodies that a front has at a time, at most."
    )
