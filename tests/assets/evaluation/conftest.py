"""A home whose registry is a real SQLite database, copied from one made once: MLflow's first start takes seconds."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from assets.home import Home
from assets.registry.versions import Registry


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated MLflow database with nothing in it: MLflow's first start takes seconds."""
    home = Home.local(tmp_path_factory.mktemp("template"))
    Registry(home).client.search_experiments()
    return home.state / "mlflow.db"


@pytest.fixture
def registry(home: Home, empty_registry: Path) -> Registry:
    shutil.copyfile(empty_registry, home.state / "mlflow.db")
    return Registry(home)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder that looks like a trained model's: four files, weights of one number."""
    folder = tmp_path / "model"
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
