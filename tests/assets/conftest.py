"""Models that look trained: files with a number each, an untrained one of the smallest size, and a sampler that paints grey."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file


@pytest.fixture
def sampler(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A sampler in the place of the trained model: grey pictures by seed. Lists the calls it got."""
    from training.data.video import write_mp4

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
