"""Verbatim on Ray: replicas whose answers have the same bits, and what only those can offer.

    serve run verbatim_ray:app model=/models/llama replicas=4

serves the OpenAI API on port 8000. A stream goes on with the same bits where its replica dies, a
slow replica is hedged, and answers are cached exactly. `verbatim_ray.batch` computes a dataset.
"""

from verbatim_ray.app import app
from verbatim_ray.batch import batch
from verbatim_ray.client import stream
from verbatim_ray.options import Options

__all__ = ["Options", "app", "batch", "stream"]
