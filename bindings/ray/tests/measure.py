"""What a front costs, and what its routing brings: by hand, on a machine that does nothing else.

    VERBATIM_BINARY=… python bindings/ray/tests/measure.py overhead cpu prefix [--model DIR]

Prints a line for each figure. Figures are of one machine: read ratios.
"""

import argparse
import collections
import http.client
import json
import os
import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import ray

from cluster import Nodes
from helpers import get, kill, post
from verbatim_ray.child import Child

TEXT = "/v1/completions"
TICK = os.sysconf("SC_CLK_TCK")


def milliseconds(url: str, headers: dict[str, str], stream: bool, count: int = 200) -> list[float]:
    """Times of requests of one token, one after the other on one connection, sorted."""
    host, _, port = url.removeprefix("http://").partition(":")
    times = []
    connection = http.client.HTTPConnection(host, int(port))
    sent = {"Content-Type": "application/json", **headers}
    for seed in range(count + 10):
        body = {"prompt": "Once", "max_tokens": 1, "seed": seed, "stream": stream}
        begun = time.perf_counter()
        connection.request("POST", TEXT, json.dumps(body), sent)
        connection.getresponse().read()
        times.append(1000 * (time.perf_counter() - begun))
    connection.close()
    return sorted(times[10:])


def overhead(nodes: Nodes, solo: Child) -> None:
    """A request through Ray and the front beside one to a server."""
    nodes.run(cache="", threads=1)
    for stream in (False, True):
        direct = milliseconds(solo.url, solo.headers, stream)
        through = milliseconds(nodes.url, {}, stream)
        for name, times in (("direct", direct), ("through", through)):
            half, most = statistics.median(times), times[int(len(times) * 0.95)]
            print(f"overhead stream={stream} {name}: p50 {half:.2f} ms, p95 {most:.2f} ms")


KINDS = {
    "verbatim serve": "engine",
    "verbatim:Front": "front",
    "verbatim:Replica": "replica",
    "ProxyActor": "proxy",
    "haproxy": "proxy",
    "raylet": "ray",
    "gcs_server": "ray",
    "ServeController": "ray",
}


def seconds_by_kind() -> dict[str, float]:
    """CPU seconds so far of what belongs to this cluster and this process, by what it is."""
    session = ray.get_runtime_context().get_session_name()
    parents, names, used = {}, {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            names[path.name] = (path / "cmdline").read_text().replace("\0", " ")
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[path.name] = fields[1]
        used[path.name] = (int(fields[11]) + int(fields[12])) / TICK

    def is_ours(pid: str) -> bool:
        return pid in names and (
            pid == str(os.getpid()) or session in names[pid] or is_ours(parents[pid])
        )

    total: dict[str, float] = collections.defaultdict(float)
    for pid, seconds in used.items():
        kind = next((kind for word, kind in KINDS.items() if word in names[pid]), None)
        if kind and is_ours(pid):
            total[kind] += seconds
    return total


def load(urls: list[tuple[str, dict[str, str]]], streams: int, tokens: int) -> tuple[int, float]:
    """So many streams at once: events of all, and seconds."""

    def one(at: int) -> int:
        url, headers = urls[at % len(urls)]
        body = {"prompt": f"Once {at}", "max_tokens": tokens, "ignore_eos": True, "seed": at}
        body |= {"stream": True, "return_token_ids": True}  # an event for each token
        raw = post(url, TEXT, body, headers, 600)[2]
        return raw.count(b"data: {")

    begun = time.perf_counter()
    with ThreadPoolExecutor(streams) as many:
        events = sum(many.map(one, range(streams)))
    return events, time.perf_counter() - begun


def cpu(nodes: Nodes, model: str | None) -> None:
    """CPU time of an event at 16 streams, by process, beside two servers that are asked alone."""
    args = ["--threads", "1", "--max-seqs", "8", *(["--model", model] if model else [])]
    tokens = 80
    pair = [Child(args=args) for _ in range(2)]
    try:
        before = seconds_by_kind()
        events, took = load([(one.url, one.headers) for one in pair], 16, tokens)
        used = {at: value - before.get(at, 0) for at, value in seconds_by_kind().items()}
        print(f"cpu direct: {events / took:.0f} events/s, {_each(used, 16 * tokens)}")
    finally:
        for one in pair:
            one.stop()
    for interval in (0, 100):
        nodes.run(model=model, cache="", threads=1, args="--max-seqs 8", interval_ms=interval)
        load([(nodes.url, {})], 16, 2)
        before = seconds_by_kind()
        events, took = load([(nodes.url, {})], 16, tokens)
        used = {at: value - before.get(at, 0) for at, value in seconds_by_kind().items()}
        shape = f"interval_ms={interval}, {16 * tokens / took:.0f} tokens/s, {events} events"
        print(f"cpu through, {shape}: {_each(used, 16 * tokens)}")
        print(f"    an event, of {events}: {_each(used, events)}")


def _each(used: dict[str, float], count: int) -> str:
    parts = [f"{at} {1000 * value / count:.2f}" for at, value in sorted(used.items()) if value]
    return "ms of CPU each: " + ", ".join(parts)


def prefix(nodes: Nodes, model: str | None) -> None:
    """Eight conversations of six turns over two replicas: tokens that were in a cache."""
    drawn = random.Random(1)
    starts = [drawn.choices(range(5, 1000), k=200) for _ in range(8)]
    turns = [drawn.choices(range(5, 1000), k=30) for _ in range(6)]

    def talk(url: str) -> None:
        def one(start: list[int]) -> None:
            ids = start
            for turn in turns:
                ids = ids + turn
                post(url, TEXT, {"prompt": ids, "max_tokens": 4, "temperature": 0})

        with ThreadPoolExecutor(4) as many:
            list(many.map(one, starts))

    for name, replicas, affinity in (
        ("one replica", 1, True),
        ("affinity", 2, True),
        ("at random", 2, False),
    ):
        nodes.stop_app()
        options = {"replicas": replicas, "affinity": affinity, "model": model}
        nodes.run(cache="", threads=1, args="--kv-tokens 16384", **options)
        talk(nodes.url)
        hits = sum(get(one["url"], "/health")["cached_tokens"] for one in nodes.who())
        print(f"prefix {name}: {hits} tokens from caches")


def gaps(nodes: Nodes, model: str | None) -> None:
    """The longest silence of a stream when what computes it is killed, three times each."""
    args = ["--max-seqs", "8"]
    nodes.run(
        model=model, cache="", threads=1, args=" ".join(args), hedge_s=0, max_replicas_per_node=1
    )

    def listen(strike: str) -> float:
        body = {"prompt": list(range(5, 105)), "max_tokens": 150, "ignore_eos": True, "seed": 1}
        body["return_token_ids"] = True
        connection = http.client.HTTPConnection("127.0.0.1", nodes.port)
        sent = {"Content-Type": "application/json"}
        connection.request("POST", TEXT, json.dumps({**body, "stream": True}), sent)
        reply = connection.getresponse()
        one = next(at for at in nodes.who() if at["replica"] == reply.headers["x-verbatim-replica"])
        times = []
        while line := reply.readline():
            if line.startswith(b"data: {"):
                times.append(time.perf_counter())
            if len(times) == 50 and strike:
                if strike == "node":
                    nodes.remove(one["node"], [one["pid"]])
                elif strike != "none":
                    kill(one[strike])
                strike = ""
        assert len(times) >= 150
        return max(b - a for a, b in pairwise(times))

    for strike in ("none", "pid", "actor", "node"):
        longest = []
        for _ in range(3):
            longest.append(f"{listen(strike):.3f}")
            if strike == "node":
                nodes.add()
            nodes.ready(2)
        print(f"gaps {strike}: {', '.join(longest)} s")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="+", choices=["overhead", "cpu", "gaps", "prefix"])
    parser.add_argument("--model")
    given = parser.parse_args()
    solo, nodes = Child(args=["--threads", "1"]), Nodes()
    try:
        for what in given.what:
            if what == "overhead":
                overhead(nodes, solo)
            else:
                {"cpu": cpu, "gaps": gaps, "prefix": prefix}[what](nodes, given.model)
    finally:
        nodes.stop()
        solo.stop()


if __name__ == "__main__":
    main()
