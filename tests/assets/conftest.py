"""Delivery folders, workers that decode, videos to mark, models that look trained, and a cluster of two nodes.

Models are files with a number each, an untrained one of the smallest size, and a sampler that paints grey.
"""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from safetensors.numpy import save_file

from assets.decode import executor as on_ray
from assets.decode.probe_pool import Limits, ProbePool
from assets.home import Home
from tests.assets.samples import DAY, encode, measuring, waves
from training.data.video import write_mp4


@pytest.fixture
def sampler(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A sampler in the place of the trained model: grey pictures by seed. Lists the calls it got."""
    calls: list[dict[str, Any]] = []

    def generate(model_dir: Path, text_encoder: Path, prompts: list[str], out: Path, **options: Any) -> list[Any]:
        calls.append({"model_dir": model_dir, "prompts": prompts, **options})
        clips = [np.full((5, 64, 64, 3), 40 + 10 * seed, np.uint8) for seed in options["seeds"]]
        return [{"path": str(write_mp4(out / f"{i}.mp4", frames, 8))} for i, frames in enumerate(clips)]

    stand_in = types.ModuleType("training.sample")
    stand_in.generate = generate  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "training.sample", stand_in)
    return calls


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return model_files(tmp_path)


def model_files(below: Path) -> Path:
    """A folder that looks like a trained model's: four files, weights of one number."""
    folder = below / "model"
    folder.mkdir()
    for part in ("codec", "transformer"):
        save_file({"w": np.ones(1, np.float32)}, folder / f"{part}.safetensors")
        (folder / f"{part}.json").write_text("{}")
    return folder


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    """A real model of the smallest size, as it is before its first step, sampled in two: it saw nothing, and says so."""
    import torch

    from training.model.codec import Codec, save_codec
    from training.model.config import LADDER, SamplingConfig
    from training.model.transformer import Transformer, save_transformer

    torch.manual_seed(0)
    size, folder = LADDER["nano"], tmp_path / "untrained"
    folder.mkdir()
    save_codec(Codec(size.codec), folder, exposure={})
    weights = Transformer(size.transformer).state_dict()
    save_transformer(weights, size.transformer, folder, exposure={}, sampling=SamplingConfig(steps=2, frames=9, fps=4))
    return folder


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 good frames, 64x48, 12 frames a second, index in front."""
    return encode(tmp_path_factory.mktemp("video") / "good.mp4", movflags="faststart")


@pytest.fixture
def drop(home: Home) -> Callable[..., Path]:
    """Writes a delivery folder into the inbox: `drop("folder", document, {"a.mp4": b"..."}, day=...)`."""

    def write(
        folder: str, document: dict[str, Any] | bytes, files: dict[str, bytes | Path] | None = None, day: str = DAY
    ) -> Path:
        base = home.state / "inbox" / day / folder
        base.mkdir(parents=True, exist_ok=True)
        for name, data in (files or {}).items():
            (base / name).parent.mkdir(parents=True, exist_ok=True)
            (base / name).write_bytes(data.read_bytes() if isinstance(data, Path) else data)
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        (base / "delivery.json").write_bytes(data)
        return base

    return write


@pytest.fixture(scope="session")
def pool() -> Iterator[ProbePool]:
    """One worker for every test that does not break it."""
    with ProbePool(Limits(wall_s=60.0), workers=1) as pool:
        yield pool


@pytest.fixture(scope="session")
def measuring_pool() -> Iterator[ProbePool]:
    """One worker that measures what it probes, as the platform's do."""
    with ProbePool(Limits(wall_s=60.0), workers=1, beside=measuring()) as pool:
        yield pool


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_mp4(tmp_path / "raw.mp4", waves(), 8)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys"


# -- a cluster of two nodes on this machine ---------------------------------------------------------------------------

OBJECT_STORE_BYTES = 80 << 20
NODES, PROCESSORS = 2, 1
CLIENT_PORT = 25017
RAY_TOKEN = secrets.token_hex(32)  # one for all clusters of a process: Ray keeps the first that it reads


@pytest.fixture(scope="module")
def environment() -> Iterator[None]:
    """What the nodes have in their environment, credentials among it, and what makes them notice a death soon."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as folder,  # short: sockets lie below it
    ):
        patch.setenv("RAY_TMPDIR", folder)
        token = {"RAY_AUTH_TOKEN": RAY_TOKEN, "RAY_health_check_period_ms": "1000"}
        token |= {
            "GRPC_ENABLE_FORK_SUPPORT": "0"
        }  # with it, one start of a client server in ten fails: ray issue 63202
        credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        for name, value in (on_ray.QUIET | on_ray.OWN | token | credentials).items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def cluster(environment: None) -> Iterator[Any]:
    """Two nodes on this machine's loopback, and this process connected to them; nothing of them is left behind."""
    import ray
    from ray.cluster_utils import Cluster

    head = {"include_dashboard": False, "ray_client_server_port": CLIENT_PORT}
    size = {"num_cpus": PROCESSORS, "object_store_memory": OBJECT_STORE_BYTES}
    nodes = Cluster(initialize_head=True, head_node_args=head | size)
    try:
        nodes.add_node(**size)
        ray.init(nodes.address, log_to_driver=False)
        yield nodes
    finally:
        ray.shutdown()
        nodes.shutdown()
        left = [process for process in psutil.Process().children(recursive=True) if "ray" in " ".join(cmdline(process))]
        assert psutil.wait_procs(left, timeout=30)[1] == []


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
