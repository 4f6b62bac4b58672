"""The application that `serve run verbatim_ray:app` and `serve deploy` build."""

import shlex
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import RequestRouterConfig

from verbatim_ray.front import Front
from verbatim_ray.options import Options
from verbatim_ray.replica import Replica
from verbatim_ray.router import Affinity


def app(options: Options) -> Application:
    """Fronts over replicas."""
    args = shlex.split(options.args) if isinstance(options.args, str) else options.args
    flags = ["--threads", str(options.threads), "--drain-seconds", str(options.drain_s), *args]
    fronts = serve.deployment(
        name="Front",
        num_replicas=options.fronts,
        max_ongoing_requests=10_000,
        graceful_shutdown_timeout_s=options.drain_s,
        ray_actor_options={"num_cpus": options.front_cpus, "resources": options.front_resources},
    )(Front)
    engines = _replicas(options).bind(options.model, options.binary, flags)
    return fronts.bind(engines, options)


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
