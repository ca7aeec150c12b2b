"""How a model is sampled is part of it: training writes it, and whoever generates uses it unless told otherwise."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.conftest import TrainingWorld
from tests.training.test_fit import run
from training import sample
from training.config import GenerateConfig, TrainConfig
from training.model.config import ConfigError, SamplingConfig, build, read_sampling
from training.model.transformer import load_transformer
from training.sampling import videos
from training.sampling.sampler import Sampler, times

OWN = {"guidance": 2.0, "steps": 3, "width": 48, "height": 32, "frames": 9, "fps": 4.0}


class Words:
    """A text encoder that knows no words."""

    def __init__(self, *_: Any) -> None: ...

    def tokens(self, texts: Any) -> list[np.ndarray]:
        return [np.full((2, 384), len(text) / 10, np.float32) for text in texts]


@pytest.fixture
def model(encoded_world: TrainingWorld) -> Path:
    """A trained model that leaves its size's sampling in everything."""
    config = encoded_world.flow_config(steps=1, noise_shift=0.8, sampling_shape=OWN)
    assert run(config)[0] == 0
    for file in (encoded_world.root / "codec").iterdir():
        shutil.copy(file, config.run_dir)
    return Path(config.run_dir)


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[Sampler]:
    """The samplers that were used."""
    found: list[Sampler] = []
    real = videos.sample

    def noted(model: Any, requests: Any, sampler: Sampler) -> Any:
        found.append(sampler)
        return real(model, requests, sampler)

    monkeypatch.setattr(videos, "sample", noted)
    monkeypatch.setattr(videos, "TextEncoder", Words)
    return found


def test_training_writes_how_its_model_is_sampled(model: Path) -> None:
    assert (
        read_sampling(model) == SamplingConfig(noise_shift=0.8, deblock=True, **OWN) == load_transformer(model).sampling
    )


def test_a_model_that_does_not_say_is_sampled_as_always_and_one_that_says_nonsense_is_named(model: Path) -> None:
    path = model / "transformer.json"
    said = json.loads(path.read_text())
    few = "steps should be greater than or equal to 1"
    for values, why in (({"steps": 0}, few), ({"stepz": 1}, "unknown key 'stepz'"), (7, "int")):
        path.write_text(json.dumps(said | {"sampling": values}))
        with pytest.raises(ConfigError, match=rf"transformer\.json: .*{why}"):
            read_sampling(model)
    del said["sampling"]
    path.write_text(json.dumps(said))
    assert load_transformer(model).sampling == read_sampling(model) == SamplingConfig()


def test_a_video_is_made_the_models_own_way_unless_told_otherwise(
    model: Path, used: list[Sampler], tmp_path: Path
) -> None:
    (own,) = sample.generate(model, "none", ["waves"], tmp_path / "own")
    assert {name: own[name] for name in ("width", "height", "frames", "fps")} == {
        name: OWN[name] for name in ("width", "height", "frames", "fps")
    }
    told = {"steps": 2, "guidance": 1.0, "frames": 5, "size": (32, 32), "numbers": {"fps": 8.0}}
    (other,) = sample.generate(model, "none", ["waves"], tmp_path / "other", **told)
    assert (other["width"], other["height"], other["frames"], other["fps"]) == (32, 32, 5, 8.0)
    assert [(s.steps, s.guidance, s.noise_shift) for s in used] == [(3, 2.0, 0.8), (2, 1.0, 0.8)]
    assert not np.allclose(times(3, 18, noise_shift=0.8), times(3, 18))


def test_no_caller_can_set_the_noise_shift() -> None:
    given = {"model_dir": "m", "text_encoder": "t", "prompts": ["p"], "out": "o"}
    with pytest.raises(ConfigError, match="unknown key 'noise_shift'"):
        build(GenerateConfig, given | {"noise_shift": 0.0})


def test_a_negative_prompt_is_refused_where_the_model_is_not_guided(
    model: Path, used: list[Sampler], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="guidance, which is 1: off"):
        sample.generate(model, "none", ["waves"], tmp_path, negative_prompt="blue", guidance=1.0)
    assert sample.generate(model, "none", ["waves"], tmp_path, negative_prompt="blue")


def test_a_size_that_the_codec_cannot_make_is_refused_before_anything_is_trained(encoded_world: TrainingWorld) -> None:
    config = encoded_world.flow_config(sampling_shape={"width": 40})
    code, result = run(config)
    assert code == 1
    assert "see sampling_shape" in result["stopped"]
    assert "multiples of 16" in result["stopped"]
    assert not (Path(config.run_dir) / "checkpoints").exists()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"fps": 0.5}, "fps should be greater than or equal to 1"),
        ({"frames": 0}, "frames should be greater than or equal to 1"),
        ({"guidance": float("nan")}, "guidance should be a finite number"),
        ({"noise_shift": 0.5}, "set noise_shift itself"),
        ({"speed": 1}, "unknown key 'speed'"),
    ],
)
def test_a_sampling_that_cannot_be_is_refused(encoded_world: TrainingWorld, change: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        encoded_world.flow_config(sampling_shape=change)


def test_the_smallest_size_is_guided_less_and_has_its_tiles_evened_out() -> None:
    given = {"run_dir": "r", "manifest": "m", "snapshot_root": "0", "database_url": "d", "frames_dir": "f"}
    assert TrainConfig(task="codec", **given).sampling == SamplingConfig(guidance=1.5, deblock=True)
    assert TrainConfig(task="codec", size="S", **given).sampling == SamplingConfig()
