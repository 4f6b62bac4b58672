"""What the manifests of packaging/kubernetes say, checked without a cluster: python manifests.py PROGRAM

Kinds of Kubernetes by its own schemas, others by those in `schemas`, all of them strictly. Then what
no schema knows: that pools, services, ports and labels fit each other; that a pod has longer to end
than its server takes; that a running server answers the probes, and tells every metric that a
manifest or docs/scale.md names.
"""

import copy
import json
import re
import sys
import tempfile
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml
from servers import ROOT, Servers, ask

FOLDER = ROOT / "packaging/kubernetes"
RAY = ROOT / "bindings/ray/examples/kuberay.yaml"
SCHEMAS = {
    path.stem: json.loads(path.read_text()) for path in (Path(__file__).parent / "schemas").glob("*.json")
}
# Members of KServe's predictor that are its own; the others are those of a pod.
OWN = {"minReplicas", "maxReplicas", "timeout", "containerConcurrency"}

# What endpoint pickers, autoscalers and dashboards for vLLM look for.
CONTRACT = {
    "vllm:num_requests_waiting",
    "vllm:num_requests_running",
    "vllm:kv_cache_usage_perc",
    "vllm:cache_config_info",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "vllm:num_preemptions_total",
    "vllm:request_success_total",
    "vllm:time_to_first_token_seconds",
    "vllm:inter_token_latency_seconds",
    "vllm:e2e_request_latency_seconds",
}


def documents(path: Path) -> list[dict]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def pod(spec: dict) -> dict:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec}


def validate(document: dict) -> None:
    """Raises what the validators raise."""
    kind = document["kind"]
    if kind in SCHEMAS:
        jsonschema.validate(document, SCHEMAS[kind], cls=jsonschema.Draft202012Validator)
    else:
        kubernetes_validate.validate(document, "1.30", strict=True)
    if kind == "ConfigMap":
        for text in document["data"].values():
            validate(yaml.safe_load(text))
    if kind == "InferenceService":
        predictor = document["spec"]["predictor"]
        validate(pod({name: part for name, part in predictor.items() if name not in OWN}))


def refuses(document: dict) -> None:
    """A misspelled member of each kind must be found, or the schemas check nothing."""
    wrong = copy.deepcopy(document)
    part = wrong.get("spec", wrong.get("subjects", [wrong])[0])
    part["thisIsNoMember"] = 1
    try:
        validate(wrong)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError):
        return
    raise AssertionError(f"a wrong member of {document['kind']} is not found")


def pods(document: dict) -> list[dict]:
    """The specs of the pods of a document."""
    spec = document.get("spec", {})
    if document["kind"] == "Deployment":
        return [spec["template"]["spec"]]
    if document["kind"] == "InferenceService":
        return [spec["predictor"]]
    return []


def check_server(spec: dict, url: str) -> None:
    """A pod with a server: what probes ask for is there, and the end of the pod comes last."""
    (container,) = spec["containers"]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    port = container["ports"][0]
    assert environment["VERBATIM_PORT"] == str(port["containerPort"])
    for probe, path in [
        ("startupProbe", "/health"),
        ("livenessProbe", "/health"),
        ("readinessProbe", "/ready"),
    ]:
        asked = container[probe]["httpGet"]
        assert asked["path"] == path, (probe, asked)
        assert asked["port"] in (port["name"], port["containerPort"]), (probe, asked)
        assert ask(url, path)[0] == 200, path
    # The balancer hears of it, then the server ends, then nobody need be patient any more.
    ready = container["readinessProbe"]
    notice = ready["periodSeconds"] * ready["failureThreshold"]
    sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert notice < sleep + int(environment["VERBATIM_DRAIN_SECONDS"])
    assert sleep + int(environment["VERBATIM_DRAIN_SECONDS"]) < spec["terminationGracePeriodSeconds"]
    assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]


def check_pool(all_documents: list[dict]) -> None:
    """The pool chooses the deployment's pods at their port, and finds its picker; its route finds it."""
    named = {(document["kind"], document["metadata"]["name"]): document for document in all_documents}
    pool, server = (
        named["InferencePool", "verbatim"]["spec"],
        named["Deployment", "verbatim"]["spec"]["template"],
    )
    assert pool["selector"]["matchLabels"].items() <= server["metadata"]["labels"].items()
    ports = {port["containerPort"] for port in server["spec"]["containers"][0]["ports"]}
    assert {port["number"] for port in pool["targetPorts"]} <= ports
    picker = named["Service", pool["endpointPickerRef"]["name"]]["spec"]
    assert pool["endpointPickerRef"]["port"]["number"] in [port["port"] for port in picker["ports"]]
    template = named["Deployment", "verbatim-epp"]["spec"]["template"]
    assert picker["selector"].items() <= template["metadata"]["labels"].items()
    (container,) = template["spec"]["containers"]
    assert "--pool-name=verbatim" in container["args"]
    (config,) = [word for word in container["args"] if word.startswith("--config-file=/config/")]
    assert config.removeprefix("--config-file=/config/") in named["ConfigMap", "verbatim-epp"]["data"]
    assert ("ServiceAccount", template["spec"]["serviceAccountName"]) in named
    for rule in named["HTTPRoute", "verbatim"]["spec"]["rules"]:
        for backend in rule["backendRefs"]:
            assert (backend["kind"], backend["name"]) in named, backend
    for text in named["ConfigMap", "verbatim-epp"]["data"].values():
        config = yaml.safe_load(text)
        plugins = {plugin.get("name", plugin["type"]) for plugin in config["plugins"]}
        used = re.findall(r"pluginRef: ([\w-]+)", text)
        assert set(used) <= plugins, set(used) - plugins


def check_metrics(url: str, texts: list[str]) -> int:
    """The metrics that texts name are told under exactly these names."""
    _, _, body = ask(url, "/metrics")
    told = set(re.findall(r"^# TYPE (\S+) ", body.decode(), re.MULTILINE))
    samples = set(re.findall(r"^([a-z_]\S*?)[{ ]", body.decode(), re.MULTILINE))
    named = CONTRACT | {name for text in texts for name in re.findall(r"vllm:[a-z0-9_]+", text)}
    missing = [name for name in named if name not in told | samples]
    assert not missing, f"not in /metrics: {sorted(missing)}"
    (cache,) = re.findall(r"^vllm:cache_config_info\{(.*)\} 1$", body.decode(), re.MULTILINE)
    assert re.search(r'\bblock_size="\d+"', cache) and re.search(r'\bnum_gpu_blocks="\d+"', cache), cache
    return len(named)


def main() -> None:
    texts = {path: path.read_text() for path in sorted(FOLDER.glob("*.yaml"))}
    everything = [document for path in texts for document in documents(path)]
    for document in everything:
        validate(document)
        refuses(document)
    check_pool(everything)
    for group in documents(RAY):
        cluster = group["spec"]["rayClusterConfig"]
        for spec in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
            validate(pod(spec["template"]["spec"]))
    with tempfile.TemporaryDirectory() as folder:
        servers = Servers(sys.argv[1], Path(folder))
        try:
            url = servers.url(0)
            checked = 0
            for document in everything:
                for spec in pods(document):
                    if spec["containers"][0]["image"].startswith("verbatim"):
                        check_server(spec, url)
                        checked += 1
            assert checked == 2, checked
            count = check_metrics(url, [*texts.values(), (ROOT / "docs/scale.md").read_text()])
        finally:
            servers.stop()
    print(f"kubernetes: {len(everything)} documents of {len(texts)} files, {count} metrics by their names")


if __name__ == "__main__":
    main()
