"""The application that `serve run verbatim_ray:app` and `serve deploy` build."""

import shlex
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve import Application
from ray.serve.config import RequestRouterConfig

from verbatim_ray.front import Front
from verbatim_ray.options import FrontOptions
from verbatim_ray.replica import Replica
from verbatim_ray.router import Affinity


class Options(BaseModel):
    """Arguments of the application: `name=value` for `serve run`, `args:` in a file."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

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
    hedge_s: float | None = Field(2.0, ge=0, description="See `FrontOptions`; 0: never.")
    first_hedge_s: float = Field(20.0, gt=0, description="See `FrontOptions`.")
    attempts: int = Field(4, ge=1, description="See `FrontOptions`.")
    wait_s: float = Field(20.0, gt=0, description="See `FrontOptions`.")
    fingerprint: str | None = Field(None, description="See `FrontOptions`.")
    cache: str | None = Field("memory", description="See `cache.open_cache`; empty: none.")
    cache_bytes: int = Field(256 << 20, ge=0, description="See `FrontOptions`.")
    api_key_file: str | None = Field(None, description="See `keys`.")
    interval_ms: int = Field(0, ge=0, le=10_000, description="See `FrontOptions`.")
    max_body_bytes: int = Field(16 << 20, ge=1, description="See `FrontOptions`.")


def app(options: Options) -> Application:
    """Fronts over replicas."""
    args = shlex.split(options.args) if isinstance(options.args, str) else options.args
    flags = ["--threads", str(options.threads), "--drain-seconds", str(options.drain_s), *args]
    shared = {name: getattr(options, name) for name in FrontOptions.__dataclass_fields__}
    shared["hedge_s"] = options.hedge_s or None
    fronts = serve.deployment(
        name="Front",
        num_replicas=options.fronts,
        max_ongoing_requests=10_000,
        graceful_shutdown_timeout_s=options.drain_s,
        ray_actor_options={"num_cpus": options.front_cpus, "resources": options.front_resources},
    )(Front)
    engines = _replicas(options).bind(options.model, options.binary, flags)
    return fronts.bind(engines, FrontOptions(**shared))


def _replicas(options: Options) -> serve.Deployment:
    """The deployment of engines."""
    scaling: dict[str, Any] = {"num_replicas": options.replicas}
    if options.max_replicas:
        scaling["autoscaling_config"] = {
            "min_replicas": options.replicas,
            "max_replicas": options.max_replicas,
            "target_ongoing_requests": options.streams_per_replica,
        }
        del scaling["num_replicas"]
    if options.max_replicas_per_node:
        scaling["max_replicas_per_node"] = options.max_replicas_per_node
    routing: dict[str, Any] = {
        "request_router_class": Affinity,
        "request_router_kwargs": {"slack": options.slack, "affinity": options.affinity},
    }
    return serve.deployment(
        name="Replica",
        # The engine's own queue refuses what is too much; Ray counts, but holds nothing back.
        max_ongoing_requests=100_000,
        health_check_period_s=1,
        health_check_timeout_s=5,
        graceful_shutdown_timeout_s=options.drain_s + 5,
        ray_actor_options={"num_cpus": options.threads},
        request_router_config=RequestRouterConfig(**routing),
        **scaling,
    )(Replica)
