"""Training on pods: manifests that Kubernetes knows, what pods are given, and a job that is followed to its end."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from assets.home import Home
from assets.model import config, on_kubernetes
from assets.model.launcher import Group
from assets.model.node import DATABASE, Job
from assets.model.on_kubernetes import Pods, manifests

BUCKET = {"place": "s3://footage/prod", "endpoint": "https://s3.example.org", "region": "eu-west-1"}


def a_job(**changes: Any) -> Job:
    plan = {"snapshot_root": "ab" * 32, "codec": {"steps": 5}, "transformer": {"steps": 5}, "code_version": "v"}
    return Job(plan, "transformer", BUCKET, **{"database_url": "", **changes})


def test_the_manifests_are_what_kubernetes_client_knows_field_by_field() -> None:
    from kubernetes.client import ApiClient

    pods = Pods(image="registry/rushes:1", secret="rushes", service_account="training", node_selector={"gpu": "h100"})
    api = ApiClient()
    for manifest, kind in zip(
        manifests(pods, a_job(), Group(processes=8, nodes=4)), ("V1Service", "V1Job"), strict=True
    ):
        typed = api.deserialize(SimpleNamespace(data=json.dumps(manifest)), kind)
        assert api.sanitize_for_serialization(typed) == manifest, "no key that its models do not know"


def test_a_pod_gets_its_rank_its_processors_and_its_secrets_from_the_cluster() -> None:
    service, manifest = manifests(Pods(image="i", secret="rushes"), a_job(), Group(processes=8, nodes=4))
    name, spec = manifest["metadata"]["name"], manifest["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"], spec["backoffLimit"]) == (
        "Indexed",
        4,
        4,
        0,
    )
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["python", "-m", "assets.model.node", "s3://footage/prod", a_job().key]
    assert container["resources"]["limits"] == {"cpu": "32", "memory": "128Gi", "nvidia.com/gpu": "8"}
    assert container["envFrom"] == [{"secretRef": {"name": "rushes"}}]
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    assert env == {
        "RUSHES_NODES": "4",
        "RUSHES_PROCESSES": "8",
        "RUSHES_FIRST_NODE": f"{name}-0.{pod['subdomain']}.default",
        "AWS_ENDPOINT_URL": "https://s3.example.org",
        "AWS_REGION": "eu-west-1",
    }
    assert service["metadata"]["name"] == pod["subdomain"] == name
    assert service["spec"]["selector"] == spec["template"]["metadata"]["labels"]


def test_what_pods_cannot_reach_is_said_before_any_is_asked_for() -> None:
    pods = Pods(image="i")
    with pytest.raises(config.ConfigError, match=f"name a secret with {DATABASE}"):
        manifests(pods, a_job(database_url="sqlite:///rushes.db"), Group())
    with pytest.raises(config.ConfigError, match="needs s3://"):
        manifests(pods, replace(a_job(), store={"place": "/home"}), Group())
    with pytest.raises(config.ConfigError, match="RUSHES_KUBERNETES: image"):
        Pods.of({"secret": "rushes"})
    with pytest.raises(config.ConfigError, match="RUSHES_KUBERNETES: imagee"):
        Pods.of({"image": "i", "imagee": "j"})


class Cluster:
    """A stand-in for Kubernetes: it has at most one job, which ends as the script says."""

    def __init__(self, *states: Any) -> None:
        self.states, self.acts, self.there = list(states), [], True  # what a killed launcher left

    def create_namespaced_service(self, namespace: str, body: Any) -> None:
        self.acts.append("service")

    def create_namespaced_job(self, namespace: str, body: Any) -> None:
        assert not self.there
        self.acts.append("job")
        self.there = True

    def delete_namespaced_service(self, name: str, namespace: str) -> None:
        self._require()

    def delete_namespaced_job(self, name: str, namespace: str, propagation_policy: str) -> None:
        self._require()
        self.acts.append("deleted")
        self.there = False

    def read_namespaced_job(self, name: str, namespace: str) -> None:
        self._require()

    def read_namespaced_job_status(self, name: str, namespace: str) -> Any:
        return SimpleNamespace(status=self.states.pop(0))

    def list_namespaced_pod(self, namespace: str, label_selector: str) -> Any:
        ended = SimpleNamespace(exit_code=1, message="CUDA out of memory")
        container = SimpleNamespace(state=SimpleNamespace(terminated=ended))
        return SimpleNamespace(items=[SimpleNamespace(status=SimpleNamespace(container_statuses=[container]))])

    def _require(self) -> None:
        from kubernetes.client.exceptions import ApiException

        if not self.there:
            raise ApiException(status=404)


def test_pods_are_followed_to_their_end_and_nothing_of_them_is_left(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = replace(home, kubernetes={"image": "i", "secret": "rushes"})
    running = SimpleNamespace(succeeded=None, conditions=None)
    failed = SimpleNamespace(type="Failed", status="True", reason="BackoffLimitExceeded", message="a pod failed.")
    good = Cluster(running, SimpleNamespace(succeeded=2, conditions=[]))
    bad = Cluster(running, SimpleNamespace(succeeded=1, conditions=[failed]))
    for cluster in (good, bad):
        monkeypatch.setattr(on_kubernetes, "_clients", lambda cluster=cluster: (cluster, cluster))
        if cluster is good:
            assert on_kubernetes.run(home, a_job(), Group(nodes=2), sleep=lambda seconds: None) == [0, 0]
        else:
            with pytest.raises(RuntimeError, match=r"BackoffLimitExceeded.*exit code 1: CUDA out of memory"):
                on_kubernetes.run(home, a_job(), Group(nodes=2), sleep=lambda seconds: None)
        assert cluster.acts == ["deleted", "service", "job", "deleted"], "also what a killed launcher left"
    assert json.loads(home.store.get(a_job().key))["task"] == "transformer"
