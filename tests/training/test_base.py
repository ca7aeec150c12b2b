"""A pretrained base: tuned whole or by LoRA on a sealed snapshot, and loaded again by diffusers' own pipeline."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.training.bases import make_base
from tests.training.conftest import TrainingWorld, copied
from training import encode, export, sample
from training.config import EncodeConfig, TrainConfig
from training.data.packing import Sample, collate
from training.fit import DONE, REFUSED, UNFIT, fit
from training.model import flow
from training.model.base_folder import BaseError, read_base
from training.model.conditioning import numbers
from training.model.config import ConfigError, build
from training.model.diffusers_base import Tuned
from training.model.transformer import from_tokens, positions, to_tokens
from training.sampling.base_pipeline import open_pipeline
from training.sampling.sampler import Options, Sampler
from training.trainer.metrics import run_logger

pytest.importorskip("diffusers")
pytest.importorskip("peft")


def run(config: TrainConfig, **how: Any) -> tuple[int, dict[str, Any]]:
    with run_logger(Path(config.run_dir), 0) as logger:
        code = fit(config, logger, **how)
    return code, json.loads((Path(config.run_dir) / "result.json").read_text())


def ready(world: TrainingWorld, family: str) -> dict[str, Any]:
    """A base, its autoencoder adopted by a run, clips and captions encoded. Returns what every config has."""
    base = make_base(world.root / "base", family)
    same: dict[str, Any] = {"base": str(base), "base_sha256": read_base(base).sha256, "codec_shape": {}}
    same |= {"transformer_shape": {}, "sampling_shape": {"width": 32, "height": 32, "frames": 9, "steps": 3}}
    code, result = run(world.config("adopted", **same))
    assert (code, result["steps"], result["best_step"]) == (DONE, 0, 0)
    folders = {"codec_dir": "adopted", "latents_dir": "own-latents", "text_dir": "own-texts", "frames_dir": "frames"}
    paths = {key: str(world.root / value) for key, value in folders.items()}
    settings = {"manifest": str(world.manifest), "snapshot_root": world.snapshot_root, "database_url": world.people.url}
    ancestors = [{"root": world.snapshot_root, "manifest": str(world.manifest)}]
    encode.encode(build(EncodeConfig, {**settings, **paths, "text_encoder": str(base), "ancestors": ancestors}))
    return same | paths | {"ancestors": ancestors, "lr": 3e-3, "text_encoder": str(base), "checkpoint_every": 10}


@pytest.fixture(scope="module")
def bases(first_world: TrainingWorld, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    made = {}
    for family in ("LTX", "Wan"):
        world = copied(first_world, tmp_path_factory.mktemp(family))
        made[family] = (world, ready(world, family))
    return made


def tuned(world: TrainingWorld, common: dict[str, Any], name: str, **changes: Any) -> TrainConfig:
    return world.flow_config(name, **common | {"steps": 20, "eval_every": 10, "batch_tokens": 300} | changes)


def model_of(config: TrainConfig, folder: Path) -> Path:
    """The codec and the tuned transformer in one folder, as a published model has them."""
    shutil.copytree(config.codec_dir, folder, ignore=shutil.ignore_patterns("checkpoints"))
    for name in ("transformer.safetensors", "transformer.json"):
        shutil.copyfile(Path(config.run_dir) / name, folder / name)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("family", ["LTX", "Wan"])
def test_an_adapter_lowers_the_loss_and_changes_what_diffusers_own_pipeline_makes_of_it(
    bases: dict[str, Any], family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import diffusers
    from diffusers.pipelines.wan import pipeline_wan

    monkeypatch.setattr(pipeline_wan, "prompt_clean", str)  # it repairs Unicode by a library that is not needed here

    world, common = bases[family]
    config = tuned(world, common, "lora", lora={"rank": 4, "alpha": 8})
    code, result = run(config)
    assert code == DONE, result
    assert result["end"]["heldout/flow_loss"] < 0.98 * result["start"]["heldout/flow_loss"]
    assert result["exposure"] == [world.snapshot_root]

    folder = model_of(config, tmp_path / "model")
    ours = open_pipeline(folder, config.base, torch.device("cpu"))
    options = Options(sampler=Sampler(steps=3, guidance=2.0))
    latent = ours.latent("a red circle", 5, options, options.sampler)  # type: ignore[attr-defined]
    pipe = getattr(diffusers, f"{family}Pipeline").from_pretrained(config.base)
    pipe.set_progress_bar_config(disable=True)
    theirs = {"before": made(pipe, ours, latent.shape)}
    pipe.load_lora_weights(str(folder), weight_name="transformer.safetensors")
    theirs["adapter"] = made(pipe, ours, latent.shape)
    assert export.main(["--model", str(folder), "--base", config.base, "--out", str(tmp_path / "merged")]) == 0
    whole = getattr(diffusers, f"{family}Pipeline").from_pretrained(tmp_path / "merged")
    theirs["merged"] = made(whole, ours, latent.shape)
    torch.testing.assert_close(theirs["adapter"], latent, rtol=0, atol=1e-4)
    torch.testing.assert_close(theirs["merged"], latent, rtol=0, atol=1e-4)
    assert float((theirs["before"] - latent).abs().max()) > 0.01


def made(pipe: Any, ours: Any, shape: torch.Size) -> torch.Tensor:
    """The latent [C, t, h, w] that diffusers' pipeline makes of the same prompt, noise and settings."""
    patch = ours.model.config.patch
    _, grid = to_tokens(torch.zeros(shape), patch)
    noise = torch.randn(math.prod(grid), shape[0] * patch**2, generator=flow.keyed("sample", 5))
    asked: dict[str, Any] = {
        "prompt": "a red circle",
        "negative_prompt": "",
        "height": 32,
        "width": 32,
        "num_frames": 9,
    }
    asked |= {"num_inference_steps": 3, "guidance_scale": 2.0, "output_type": "latent"}
    if type(pipe).__name__ == "LTXPipeline":
        return from_tokens(pipe(latents=noise[None], frame_rate=8, **asked).frames[0], grid, patch)
    return pipe(latents=from_tokens(noise, grid, patch)[None], **asked).frames[0]


@pytest.mark.slow
def test_a_whole_tuning_that_was_interrupted_resumes_to_the_same_weights(bases: dict[str, Any]) -> None:
    world, common = bases["LTX"]
    common = common | {"tuning": "full", "lr": 1e-3, "checkpoint_every": 4, "steps": 8, "eval_every": 8}
    straight, halted = (tuned(world, common, name, **{k: common[k] for k in ("steps", "eval_every")}) for name in "ab")
    assert run(straight)[0] == DONE
    run(halted, until=4)
    code, result = run(halted)
    assert (code, result["resumed_from_step"]) == (DONE, 4)
    assert result["end"]["heldout/flow_loss"] < result["start"]["heldout/flow_loss"]
    whole, resumed = (load_file(Path(c.run_dir) / "transformer.safetensors") for c in (straight, halted))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.slow
def test_a_run_from_a_base_stops_when_consent_ends_and_leaves_what_it_made_tainted(
    bases: dict[str, Any], tmp_path: Path
) -> None:
    world, common = bases["LTX"]
    world = copied(world, tmp_path)
    common = common | {"database_url": world.people.url}
    config = tuned(world, common, str(tmp_path / "withdrawn"), checkpoint_every=4)
    run(config, until=4)
    world.people.revoke(world.consents[0])
    code, result = run(config)
    assert code == REFUSED
    assert len(result["reasons"]) == 1
    assert (tmp_path / "withdrawn" / "tainted").is_file()
    assert not (tmp_path / "withdrawn" / "transformer.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["LTX", "Wan"])
def test_pictures_and_videos_of_any_shape_in_one_pack_are_as_if_alone(bases: dict[str, Any], family: str) -> None:
    _, common = bases[family]
    model = Tuned(read_base(common["base"]), "lora", {}, 8)
    shape, samples = model.config, []
    for index, (grid, words) in enumerate([((3, 2, 2), 4), ((1, 2, 2), 2), ((3, 2, 3), 7), ((3, 2, 2), 5)]):
        draw = torch.Generator().manual_seed(index)
        x_NP = torch.randn(math.prod(grid), shape.token_values, generator=draw)
        text_MT = torch.randn(words, shape.text_width, generator=draw)
        samples.append(Sample(str(index), x_NP, grid, positions(grid, 0.5), text_MT, numbers({})))

    def velocity(chosen: list[Sample]) -> list[torch.Tensor]:
        batch = collate(chosen)
        t_F = torch.tensor([0.2 + 0.2 * int(s.clip_id) for s in chosen])[batch.segment_F]
        none_N = torch.zeros(len(batch.x_NP), dtype=torch.bool)
        with torch.no_grad():
            return list(model(batch.x_NP, t_F, none_N, batch).split(batch.segments.lengths))

    for together, alone in zip(velocity(samples), (velocity([s])[0] for s in samples), strict=True):
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_videos_are_made_from_text_alone_at_the_size_that_is_asked_for(bases: dict[str, Any], tmp_path: Path) -> None:
    world, common = bases["LTX"]
    config = tuned(world, common, "few", steps=1, eval_every=1)
    assert run(config)[0] == DONE
    folder = model_of(config, tmp_path / "model")
    (row,) = sample.generate(folder, config.base, ["a red circle"], tmp_path / "out", size=(64, 32), frames=5)
    assert (row["width"], row["height"], row["frames"]) == (64, 32, 5)
    with pytest.raises(ValueError, match="from text alone"):
        sample.generate(folder, config.base, ["x"], tmp_path, references=[{"role": "first", "path": row["path"]}])
    (Path(config.base) / "scheduler" / "more.json").write_text("{}")
    try:
        with pytest.raises(BaseError, match="the model was tuned from"):
            open_pipeline(folder, config.base, torch.device("cpu"))
        assert run(tuned(world, common, "changed"))[0] == UNFIT
    finally:
        (Path(config.base) / "scheduler" / "more.json").unlink()


def test_a_folder_that_cannot_be_a_base_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BaseError, match="is no base"):
        read_base(tmp_path)
    index: dict[str, Any] = {"_class_name": "CogVideoXPipeline"}

    def refused(why: str, **changes: Any) -> None:
        (tmp_path / "model_index.json").write_text(json.dumps(index | changes))
        with pytest.raises(BaseError, match=why):
            read_base(tmp_path)

    refused("v-prediction on a DDPM schedule")
    refused("known are LTXPipeline, WanPipeline", _class_name="FluxPipeline")
    index = {
        "_class_name": "WanPipeline",
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
    }
    refused("two transformers", transformer_2=["diffusers", "WanTransformer3DModel"])
    refused("vae is .*AutoencoderKLLTXVideo", vae=["diffusers", "AutoencoderKLLTXVideo"])
    refused("has no folder transformer/")
    for part in ("transformer", "vae", "text_encoder", "tokenizer", "scheduler"):
        (tmp_path / part).mkdir()
    (tmp_path / "transformer" / "model.bin").write_bytes(b"pickled")
    refused("transformer/ holds no safetensors")
    for part in ("transformer", "vae", "text_encoder"):
        (tmp_path / part / "model.safetensors").write_bytes(b"weights")
    refused("its licence is not known; set base_licence")
    assert read_base(tmp_path, "bought").licence == "bought"
    (tmp_path / "LICENSE").write_text("        Apache License\n   Version 2.0, January 2004")
    first = read_base(tmp_path)
    assert first.licence == "apache-2.0"
    (tmp_path / "README.md").write_text("---\nlicense: other\nlicense_name: ltx-open\n---\n")
    assert read_base(tmp_path).licence == "ltx-open"
    (tmp_path / "transformer" / "model.safetensors").write_bytes(b"other weights")
    assert read_base(tmp_path).sha256 != first.sha256


def test_settings_that_a_base_cannot_have_are_named(world: TrainingWorld) -> None:
    for changes, why in [
        ({"rendered_share": 0.5, "text_encoder": "x"}, "rendered_share must be 0"),
        ({"strategy": "fsdp"}, "strategy must be ddp"),
        ({"lora": {"rank": 0}}, "rank must be a whole number of at least 1, got 0"),
        ({"lora": {"targets": "to_q"}}, "targets must be a list"),
    ]:
        with pytest.raises(ConfigError, match=why):
            world.flow_config(base="folder", **changes)


@pytest.mark.slow
def test_a_deeper_model_starts_from_the_blocks_of_a_shallower_one_and_a_codec_is_taken_whole_or_refused(
    world: TrainingWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    few = {"steps": 2, "eval_every": 2}
    shallow = world.flow_config("shallow", **few)
    assert run(shallow)[0] == DONE
    shape = shallow.transformer_shape | {"layers": 3}
    deep = world.flow_config("deep", transformer_shape=shape, parent_dir=shallow.run_dir, **few | {"lr": 1e-12})
    assert run(deep)[0] == DONE
    assert "tensors (blocks" in capsys.readouterr().out
    ours, theirs = (load_file(Path(c.run_dir) / "transformer.safetensors") for c in (deep, shallow))
    assert {name for name in ours if name not in theirs} == {n for n in ours if n.startswith("blocks.2.")}
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in theirs)

    codec = world.config("codec-run", **few)
    assert run(codec)[0] == DONE
    wider = world.config("wider", codec_shape=codec.codec_shape | {"width": 32}, parent_dir=codec.run_dir, **few)
    code, result = run(wider)
    assert code == UNFIT
    assert "the parent's weights are another model's" in result["stopped"]
