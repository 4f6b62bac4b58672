"""The examples and the README say what the package takes."""

import re
from pathlib import Path

import yaml
from ray.serve.schema import ServeDeploySchema

from verbatim_ray import Options

HERE = Path(__file__).resolve().parents[1]


def test_serve_deploy_takes_the_example() -> None:
    config = ServeDeploySchema.model_validate(
        yaml.safe_load((HERE / "examples" / "serve.yaml").read_text())
    )
    assert config.applications[0].import_path == "verbatim_ray:app"
    assert Options(**config.applications[0].args).replicas == 2


def test_kuberay_deploys_what_the_package_takes() -> None:
    service = yaml.safe_load((HERE / "examples" / "kuberay.yaml").read_text())
    assert (service["kind"], service["apiVersion"]) == ("RayService", "ray.io/v1")
    config = ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))
    options = Options(**config.applications[0].args)
    cluster = service["spec"]["rayClusterConfig"]
    workers = cluster["workerGroupSpecs"][0]
    assert workers["replicas"] >= options.replicas
    grace = workers["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > options.drain_s + 5, "streams end before their node does"
    head = cluster["headGroupSpec"]["rayStartParams"]["resources"]
    assert all(name in head for name in options.front_resources)
    cpus = workers["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"]
    assert int(cpus) >= options.threads


def test_the_readme_names_arguments_that_are_there() -> None:
    text = (HERE / "README.md").read_text()
    table = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    named = [name for row in table for name in re.findall(r"`(\w+)`", row)]
    assert len(named) >= 10
    assert set(named) <= set(Options.model_fields)
