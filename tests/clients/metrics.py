"""Prometheus' own parser against a running server: python metrics.py http://127.0.0.1:8080

Needs `pip install prometheus-client`. Asks for some completions, reads /metrics before and after, and checks that all
of it parses, that histograms are whole, that counters never fall, and that the numbers are those of the requests.
"""

import json
import math
import sys
import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

base = sys.argv[1].rstrip("/")


def scrape():
    with urllib.request.urlopen(f"{base}/metrics", timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4"), answer.headers
        text = answer.read().decode("utf-8")
    return {family.name: family for family in text_string_to_metric_families(text)}


def complete(**parameters):
    body = json.dumps({"prompt": [5, 6, 7], "seed": 1, "ignore_eos": True, **parameters}).encode()
    request = urllib.request.Request(f"{base}/v1/completions", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return answer.read()


def key(sample):
    return sample.name, tuple(sorted(sample.labels.items()))


def count(families, name, **labels):
    """The sum of the samples of that name which have these labels; a label that was never counted is not told."""
    samples = [sample for family in families.values() for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items())


def check_histogram(family):
    series = {}
    for sample in family.samples:
        labels = {name: text for name, text in sample.labels.items() if name != "le"}
        part = series.setdefault(tuple(sorted(labels.items())), {"buckets": []})
        if sample.name.endswith("_bucket"):
            part["buckets"].append((float(sample.labels["le"]), sample.value))
        else:
            part[sample.name.rsplit("_", 1)[1]] = sample.value
    for labels, part in series.items():
        buckets = part["buckets"]
        assert buckets == sorted(buckets) and buckets[-1][0] == math.inf, (family.name, labels, buckets)
        counts = [count for _, count in buckets]
        assert counts == sorted(counts) and counts[-1] == part["count"], (family.name, labels, counts)
        assert part["sum"] >= 0, (family.name, labels)


before = scrape()
for _ in range(3):
    complete(max_tokens=8)
complete(max_tokens=8, n=2, stream=True)
answered = "verbatim:http_requests_total", {"route": "/v1/completions", "status": "200"}
for _ in range(500):  # a request is counted after its answer, which may be read before that
    after = scrape()
    if count(after, answered[0], **answered[1]) - count(before, answered[0], **answered[1]) == 4:
        break
    time.sleep(0.01)

for family in after.values():
    assert family.type in ("counter", "gauge", "histogram"), (family.name, family.type)
    assert family.documentation, family.name
    if family.type == "histogram":
        check_histogram(family)
seen = {key(sample): sample.value for family in after.values() for sample in family.samples}
for family in before.values():
    for sample in family.samples if family.type in ("counter", "histogram") else []:
        assert seen[key(sample)] >= sample.value, sample

for name, labels, more in [
    ("vllm:request_success_total", {"finished_reason": "length"}, 5),
    ("vllm:generation_tokens_total", {}, 40),
    ("vllm:prompt_tokens_total", {}, 12),
    ("vllm:time_to_first_token_seconds_count", {}, 5),
    ("vllm:e2e_request_latency_seconds_count", {}, 5),
    ("vllm:request_params_n_sum", {}, 5),
    ("vllm:request_generation_tokens_sum", {}, 40),
    (*answered, 4),
]:
    was, now = count(before, name, **labels), count(after, name, **labels)
    assert now - was == more, (name, labels, was, now)
assert count(after, "verbatim:steps_total") > 0
blocks = count(after, "verbatim:kv_blocks")
assert blocks == float(next(iter(after["vllm:cache_config_info"].samples)).labels["num_gpu_blocks"])
models = {sample.labels["model_name"] for name in after if name.startswith("vllm:") for sample in after[name].samples}
assert len(models) == 1, models
print(f"ok: {len(after)} metrics, {len(seen)} samples")
