"""Configurations say what is wrong with them, and the ladder has the sizes it names."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from training.config import EvaluateConfig, TrainConfig, read_config
from training.model.config import LADDER, ConfigError, build
from training.model.transformer import Transformer

GOOD = {
    "task": "codec",
    "run_dir": "r",
    "manifest": "m",
    "snapshot_root": "0",
    "database_url": "sqlite://",
    "frames_dir": "f",
}


def test_a_good_configuration_is_typed(tmp_path) -> None:
    (tmp_path / "c.json").write_text(json.dumps(GOOD | {"lr": 1}))
    config = read_config(TrainConfig, tmp_path / "c.json")
    assert config.lr == 1.0
    assert isinstance(config.lr, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 5}, "unknown key 'step'; did you mean 'steps'"),
        ({"steps": "5"}, "steps should be a valid integer"),
        ({"steps": True}, "steps should be a valid integer"),
        ({"task": "transformer", "strategy": "fsdp", "matrix_lr": 0.02}, "matrix_lr needs whole matrices"),
        ({"steps": 0}, "steps or minutes"),
        ({"task": "dream"}, "task should be 'codec' or 'transformer'"),
        ({"size": "giant"}, "size must be one of nano"),
        ({"codec_shape": {"patches": 4}}, "codec_shape: unknown key 'patches'; did you mean 'patch'"),
        ({"codec_shape": {"patch": 0}}, "codec_shape: patch should be greater than or equal to 1"),
        ({"transformer_shape": {"heads": 5}}, "width 128 must be an even number of values for each of 5 heads"),
        ({"transformer_shape": {"adaln": "one"}}, "transformer_shape: adaln should be 'single' or 'zero'"),
        ({"strategy": "fsdp2"}, "strategy should be 'ddp' or 'fsdp'"),
        ({"strategy": "fsdp"}, "a codec fits into every process"),
        ({"task": "transformer"}, "task transformer needs latents_dir, codec_dir, text_dir"),
    ],
)
def test_a_bad_key_or_value_is_named(change, message) -> None:
    with pytest.raises(ConfigError, match=message):
        build(TrainConfig, GOOD | change)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match="missing key run_dir"):
        build(TrainConfig, {key: value for key, value in GOOD.items() if key != "run_dir"})


def test_a_file_that_is_no_json_is_named(tmp_path) -> None:
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(ConfigError, match=r"c\.json"):
        read_config(TrainConfig, tmp_path / "c.json")


def test_lists_are_checked_item_by_item() -> None:
    names = ("model_dir", "manifest", "snapshot_root", "frames_dir", "latents_dir", "text_dir", "text_encoder", "out")
    with pytest.raises(ConfigError, match=r"samples\.0 should be a valid dictionary"):
        build(EvaluateConfig, dict.fromkeys(names, "x") | {"samples": ["a.mp4"]})


@pytest.mark.parametrize("size", LADDER)
def test_the_ladder_states_its_parameter_counts(size: str) -> None:
    with torch.device("meta"):
        model = Transformer(LADDER[size].transformer)
    assert sum(p.numel() for p in model.parameters()) == LADDER[size].parameters


def test_a_run_may_leave_its_size_in_single_fields() -> None:
    config = build(TrainConfig, GOOD | {"codec_shape": {"patch": 4}, "transformer_shape": {"patch": 1}})
    assert config.codec == replace(LADDER["nano"].codec, patch=4)
    assert config.transformer == replace(LADDER["nano"].transformer, patch=1)


@pytest.mark.parametrize(("size", "millions"), [("S", 33), ("B", 130), ("L", 458), ("XL", 675)])
def test_with_a_map_for_each_block_the_sizes_are_those_of_dit(size: str, millions: int) -> None:
    """As DiT: four latent channels, no cross-attention. Peebles & Xie, arXiv 2212.09748, table 1."""
    shape = replace(LADDER[size].transformer, adaln="zero", cross_attention=False, channels=4)
    with torch.device("meta"):
        model = Transformer(shape)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.025)
