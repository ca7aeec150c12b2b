"""A training run on Kubernetes: an Indexed Job with a pod for each node, and a headless service by which they meet.

The pods run `node`, which takes the job from the store. No secret is in a manifest: the ledger's address and the store's
credentials come from a Secret of the cluster, by name. A pod that fails fails the Job, and Kubernetes ends the others.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, field
from typing import Any

from pydantic import Field, ValidationError
from pydantic.dataclasses import dataclass

from assets.home import Home
from assets.model.config import ConfigError
from assets.model.launcher import Group
from assets.model.node import DATABASE, Job
from assets.store import Address
from training.model.config import STRICT

PORT, LOOK_EVERY_S = 29400, 5.0
LONGEST_S = 3 * 24 * 3600  # of a pod that nobody watches any more, as of a run of Dagster's
LABEL = "rushes/run"


@dataclass(frozen=True, config=STRICT)
class Pods:
    """RUSHES_KUBERNETES: what the pods of training are."""

    image: str = Field(min_length=1)  # has this version of Rushes, and the weights of its set-up
    secret: str = ""  # a Secret whose keys become variables: RUSHES_DATABASE_URL, AWS_ACCESS_KEY_ID, ...
    namespace: str = "default"
    service_account: str = ""
    python: str = "python"  # in the image
    gpu: str = "nvidia.com/gpu"  # the resource that a process needs one of; empty: none, training on processors
    cpu: str = "4"  # of a process
    memory: str = "16Gi"  # of a process
    shared_memory: str = "8Gi"  # of a pod: NCCL and data loading use /dev/shm
    node_selector: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Pods:
        """Raises ConfigError, which names the key."""
        try:
            return cls(**settings)
        except ValidationError as error:
            problem = error.errors()[0]
            raise ConfigError(f"RUSHES_KUBERNETES: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from error


def manifests(pods: Pods, job: Job, group: Group) -> tuple[dict[str, Any], dict[str, Any]]:
    """The Service and the Job, as plain values. Raises ConfigError for what pods could not reach."""
    place = job.store["place"]
    if not Address(place).remote:
        raise ConfigError(f"RUSHES_HOME: pods cannot read {place}; the launcher k8s needs s3://bucket/prefix")
    if (not job.database_url or job.database_url.startswith("sqlite")) and not pods.secret:
        raise ConfigError(f"RUSHES_KUBERNETES: name a secret with {DATABASE}: pods cannot read this machine's ledger")
    name, labels = name_of(job), {LABEL: name_of(job)}
    meta = {"name": name, "namespace": pods.namespace, "labels": labels}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,  # they meet before any is ready
            "selector": labels,
            "ports": [{"name": "torchrun", "port": PORT}],
        },
    }
    size = {"cpu": _times(pods.cpu, group.processes), "memory": _times(pods.memory, group.processes)}
    if pods.gpu:
        size[pods.gpu] = str(group.processes)
    variables = {
        "RUSHES_NODES": str(group.nodes),
        "RUSHES_PROCESSES": str(group.processes),
        "RUSHES_FIRST_NODE": f"{name}-0.{name}.{pods.namespace}",
        "AWS_ENDPOINT_URL": job.store.get("endpoint"),
        "AWS_REGION": job.store.get("region"),
    }
    container = {
        "name": "training",
        "image": pods.image,
        "command": [pods.python, "-m", "assets.model.node", place, job.key],
        "env": [{"name": key, "value": value} for key, value in variables.items() if value],
        "envFrom": [{"secretRef": {"name": pods.secret}}] if pods.secret else [],
        "resources": {"requests": size, "limits": size},
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "subdomain": name,
        "containers": [container],
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": pods.shared_memory}}],
    }
    pod |= {"serviceAccountName": pods.service_account} if pods.service_account else {}
    pod |= {"nodeSelector": dict(pods.node_selector)} if pods.node_selector else {}
    return service, {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": meta,
        "spec": {
            "completionMode": "Indexed",  # gives each pod its rank and its name
            "completions": group.nodes,
            "parallelism": group.nodes,
            "backoffLimit": 0,  # the next attempt is Dagster's, from the last checkpoint
            "activeDeadlineSeconds": LONGEST_S,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def name_of(job: Job) -> str:
    """The same run has the same name, so that a second attempt finds what is left of the first."""
    return f"rushes-{job.key.split('/')[1].lower()}"[:52]


def _times(quantity: str, count: int) -> str:
    """So many times a quantity of Kubernetes, such as 4 or 16Gi."""
    digits = quantity.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return f"{int(digits) * count}{quantity[len(digits) :]}"


def run(home: Home, job: Job, group: Group, sleep: Callable[[float], None] = time.sleep) -> list[int]:
    """The job in pods, to its end: 0 for each if they ended well. Raises ConfigError, or what the cluster says."""
    pods = Pods.of(home.kubernetes)
    service, manifest = manifests(pods, job, group)
    home.store.put(job.key, json.dumps(asdict(job)).encode())
    core, batch = _clients()
    name = manifest["metadata"]["name"]
    _remove(core, batch, pods.namespace, name, sleep)
    try:
        core.create_namespaced_service(pods.namespace, service)
        batch.create_namespaced_job(pods.namespace, manifest)
        while True:
            status = batch.read_namespaced_job_status(name, pods.namespace).status
            if (status.succeeded or 0) >= group.nodes:
                return [0] * group.nodes
            for condition in status.conditions or []:
                if condition.type == "Failed" and condition.status == "True":
                    raise RuntimeError(
                        f"job {name}: {condition.reason}: {condition.message} {_last_words(core, pods, name)}"
                    )
            sleep(LOOK_EVERY_S)
    finally:
        _remove(core, batch, pods.namespace, name, sleep)


def _clients() -> tuple[Any, Any]:
    """Kubernetes' core and batch interfaces, as this machine or this pod may use them."""
    try:
        from kubernetes import client, config
    except ModuleNotFoundError:
        raise ConfigError("Kubernetes' client is not installed here: install the extra `k8s`") from None
    try:
        config.load_incluster_config()
    except config.ConfigException:
        config.load_kube_config()
    return client.CoreV1Api(), client.BatchV1Api()


def _last_words(core: Any, pods: Pods, name: str) -> str:
    """How the containers that failed ended."""
    listed = core.list_namespaced_pod(pods.namespace, label_selector=f"{LABEL}={name}").items
    ended = [state.state.terminated for pod in listed for state in pod.status.container_statuses or []]
    return "; ".join(f"exit code {end.exit_code}: {end.message}" for end in ended if end and end.exit_code)


def _remove(core: Any, batch: Any, namespace: str, name: str, sleep: Callable[[float], None]) -> None:
    """Remove the Job with its pods, and the Service; wait until they are gone."""
    from kubernetes.client.exceptions import ApiException

    def gone(act: Callable[[], Any]) -> bool:
        try:
            act()
        except ApiException as error:
            if error.status != 404:
                raise
            return True
        return False

    gone(lambda: core.delete_namespaced_service(name, namespace))
    if not gone(lambda: batch.delete_namespaced_job(name, namespace, propagation_policy="Foreground")):
        while not gone(lambda: batch.read_namespaced_job(name, namespace)):
            sleep(1.0)
