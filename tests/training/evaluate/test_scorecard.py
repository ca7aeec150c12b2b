"""The scorecard of a whole model: every row is there, and a broken model is told from a working one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from assets.model.published import APART
from tests.training.conftest import TrainingWorld, copied, scene_clip
from training.data.video import write_mp4
from training.evaluate import copies, motion, quality
from training.evaluate.__main__ import main
from training.evaluate.adherence import colour_of
from training.evaluate.heldout import flow_loss, psnr, ssim
from training.evaluate.rows import Metric, interval
from training.fit import fit
from training.model.transformer import load_transformer
from training.sampling import sampler as sampling
from training.sampling.sampler import Pipeline
from training.simulate import random_scene, render
from training.trainer.metrics import RunLogger

MINILM = Path(__file__).parents[3] / ".vendor" / "minilm"
GRAVITY = ("trial_gravity_residual", *(f"trial_{name}" for name in ("bounce", "momentum", "permanence")))
needs_minilm = pytest.mark.skipif(not (MINILM / "model.safetensors").exists(), reason="run `make setup`")


@pytest.fixture(scope="module")
def trained(first_world: TrainingWorld, tmp_path_factory) -> TrainingWorld:
    """A model folder after two dozen steps, which is a little better than the closed form it starts from."""
    world = copied(first_world, tmp_path_factory.mktemp("scorecard"))
    shape = {"patch": 2, "width": 64, "layers": 2, "heads": 2, "predicts": "correction"}
    few = {"steps": 24, "eval_every": 8, "checkpoint_every": 24, "sampling_shape": {"steps": 3}}
    config = world.flow_config("model", batch_tokens=120, transformer_shape=shape, **few)
    assert fit(config, RunLogger(Path(config.run_dir))) == 0
    for file in (world.root / "codec").iterdir():
        shutil.copy(file, world.root / "model")
    return world


def evaluate(world: TrainingWorld, **changes) -> dict[tuple[str, str], dict]:
    folders = {"frames_dir": "frames", "latents_dir": "latents", "text_dir": "texts", "model_dir": "model"}
    values = {
        "manifest": str(world.manifest),
        "snapshot_root": world.snapshot_root,
        "text_encoder": str(MINILM),
        "out": str(world.root / "metrics.json"),
        "scenes": 2,
        **{key: str(world.root / value) for key, value in folders.items()},
    }
    (world.root / "evaluate.json").write_text(json.dumps(values | changes))
    assert main(["--config", str(world.root / "evaluate.json")]) == 0
    rows = json.loads((world.root / "metrics.json").read_text())["rows"]
    assert len({(row["metric"], row["slice"]) for row in rows}) == len(rows)
    return {(row["metric"], row["slice"]): row for row in rows}


@needs_minilm
def test_every_metric_has_a_row_and_a_copied_sample_is_found(trained: TrainingWorld) -> None:
    sample = write_mp4(trained.root / "copy.mp4", scene_clip(0).numpy(), 8.0, crf=10)
    rows = evaluate(trained, samples=[{"path": str(sample), "prompt": "p"}])
    measured = {metric for (metric, part), row in rows.items() if part == "all" and row["state"] == "measured"}
    assert measured >= {
        "heldout_flow_loss",
        "reconstruction_psnr",
        "reconstruction_ssim",
        "temporal_flicker",
        "motion_smoothness",
        "dynamic_degree",
        "copy_ratio",
        "memorised_clips",
        "prompt_colour",
        "sampling_speed",
    }
    assert rows["memorised_clips", "all"]["value"] == 1
    assert rows["prompt_colour", "reference=rendered"]["value"] == 1
    assert rows["temporal_flicker", "reference=heldout"]["n"] == 3
    for metric, file in (("reconstruction_lpips", "lpips-alex.pt"), ("copies_sscd", "sscd.onnx")):
        assert rows[metric, "all"]["state"] == "not_measured"
        assert file in rows[metric, "all"]["why"]
    assert rows["fvd", "all"]["why"] == "no videos of held-out captions were asked for"


@needs_minilm
@pytest.mark.slow
def test_networks_measure_the_models_videos_beside_real_ones(trained: TrainingWorld) -> None:
    classes = trained.root / "classes.json"
    members = json.loads(trained.manifest.read_text())["members"]
    classes.write_text(json.dumps({m["clip_id"]: {"place": "the sea", "time_of_day": "day"} for m in members}))
    asked = {"networks": str(MINILM.parent / "networks"), "clips": 4, "camera_trials": 2, "trials": 1, "twins": 1}
    rows = evaluate(trained, scenes=0, **asked, classes=str(classes))
    not_measured = {
        metric: row["why"] for (metric, part), row in rows.items() if row["value"] is None and part == "all"
    }
    assert not_measured.pop("prompt_colour") == "no simulated prompts were asked for"
    assert not_measured.keys() <= {"fvd", "kernel_video_distance", "sampling_speed", *GRAVITY}
    assert "fewer than 4 clips" in not_measured["fvd"], "three clips are held out"
    for metric in ("subject_consistency", "background_consistency", "imaging_quality", "motion_smoothness"):
        assert rows[metric, "all"]["n"] == rows[metric, "reference=heldout"]["n"] == 3
        assert rows[metric, "place=the sea"]["n"] == 3
    assert rows["reconstruction_lpips", "all"]["value"] > 0.01
    assert rows["prompt_lpips", "all"]["value"] > rows["reconstruction_lpips", "all"]["value"]
    assert rows["camera_obedience", "reference=rendered"]["value"] == 1
    assert rows["caption_similarity", "reference=rendered"]["value"] > 0.95
    assert rows["caption_similarity", "all"]["value"] < rows["caption_similarity", "reference=rendered"]["value"]
    cost = {part: row["value"] for (metric, part), row in rows.items() if metric == "evaluation_cpu"}
    assert cost["all"] == pytest.approx(sum(cost.values()) - cost["all"], rel=0.1)


def values(world: TrainingWorld) -> dict[str, dict[str, float]]:
    return json.loads((world.root / "metrics.json").read_text())["values"]


@needs_minilm
def test_the_loss_is_measured_beside_references_clip_by_clip(trained: TrainingWorld) -> None:
    model = trained.root / "model"
    rows = evaluate(trained, scenes=0, base_dir=str(model))
    measured = values(trained)
    clips = measured["heldout_flow_loss"].keys()
    assert len(clips) == 3
    for name in ("closed_form", "untrained", "base"):
        assert measured[f"heldout_flow_loss@{name}"].keys() == clips
        by_clip = measured[f"heldout_flow_loss@{name}"].values()
        assert rows["heldout_flow_loss", f"reference={name}"]["value"] == pytest.approx(sum(by_clip) / 3)
    assert measured["heldout_flow_loss@base"] == pytest.approx(measured["heldout_flow_loss"])  # it is its own base here
    loss = {name: rows["heldout_flow_loss", f"reference={name}"]["value"] for name in ("closed_form", "untrained")}
    assert loss["closed_form"] < 1.5 < loss["untrained"]
    assert measured["reconstruction_psnr"].keys() == measured["reconstruction_ssim"].keys() == clips


@needs_minilm
def test_a_base_whose_codec_encodes_otherwise_is_not_compared_and_one_that_decodes_otherwise_is(
    trained: TrainingWorld,
) -> None:
    base = trained.root / "base"
    shutil.copytree(trained.root / "model", base, dirs_exist_ok=True)
    for name, compared in (("head.tube.bias", True), ("mean_2C1", False)):
        weights = load_file(trained.root / "model" / "codec.safetensors")
        weights[name] += 1
        save_file(weights, base / "codec.safetensors")
        row = evaluate(trained, scenes=0, base_dir=str(base))["heldout_flow_loss", "reference=base"]
        assert (row["state"] == "measured") is compared
    assert row["why"].startswith(APART)


@needs_minilm
def test_the_base_is_asked_the_same_trials_once(trained: TrainingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    made, make = [], Pipeline.__call__
    monkeypatch.setattr(Pipeline, "__call__", lambda *a, **k: made.append(len(a[1])) or make(*a, **k))
    kept = trained.root / "kept.json"
    asked = {"scenes": 0, "trials": 1, "base_dir": str(trained.root / "model"), "base_scores": str(kept)}
    evaluate(trained, **asked)
    first = values(trained)
    assert first["trial_colour@base"].keys() == first["trial_colour"].keys()
    evaluate(trained, **asked)
    assert made == [2, 2, 2]  # the model and its base, then the model alone
    assert values(trained) == first
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"digest": "of other weights"}))
    evaluate(trained, **asked)
    assert made == [2, 2, 2, 2, 2]


@needs_minilm
def test_trials_are_made_and_judged_beside_rendered_ones_and_the_codecs(trained: TrainingWorld) -> None:
    rows = evaluate(trained, scenes=0, trials=3)
    for part in ("all", "reference=rendered", "reference=codec"):
        assert rows["trial_colour", part]["n"] == 6
        assert rows["trial_side", part]["n"] == rows["trial_direction", part]["n"] == 3
    assert rows["trial_colour", "reference=rendered"]["value"] == 1
    assert rows["trial_colour", "all"]["value"] == 0  # two shapes' landscapes and a few steps: no trial is right
    none = evaluate(trained, scenes=0)["trial_colour", "all"]
    assert (none["state"], none["why"]) == ("not_measured", "no simulated trials were asked for")


@needs_minilm
def test_what_is_measured_is_made_the_models_own_way(trained: TrainingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    own, asked = trained.root / "own", []
    shutil.copytree(trained.root / "model", own, dirs_exist_ok=True)
    path = own / "transformer.json"
    sampling_of_it = {"noise_shift": 0.8, "guidance": 1.0, "steps": 2, "width": 48, "height": 32, "frames": 9}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sampling": sampling_of_it}))
    sampled = sampling.sample

    def noted(model, requests, sampler):
        (t, h, w), cell = requests[0].grid, 16
        asked.append((sampler.noise_shift, sampler.guidance, sampler.steps, w * cell, h * cell, 4 * (t - 1) + 1))
        return sampled(model, requests, sampler)

    monkeypatch.setattr(sampling, "sample", noted)
    rows = evaluate(trained, scenes=1, trials=1, model_dir=str(own))
    assert asked == [tuple(sampling_of_it.values())] * 2
    assert rows["prompt_colour", "reference=codec"]["n"] == 1


@needs_minilm
def test_without_samples_what_needs_them_is_not_measured(trained: TrainingWorld) -> None:
    rows = evaluate(trained, scenes=0)
    for metric in ("memorised_clips", "copy_ratio", "temporal_flicker", "prompt_colour"):
        assert rows[metric, "all"]["state"] == "not_measured"
    assert rows["heldout_flow_loss", "all"]["state"] == "measured"


@needs_minilm
def test_spoiled_weights_are_worse_beyond_the_interval(trained: TrainingWorld) -> None:
    good = evaluate(trained, scenes=0)["heldout_flow_loss", "all"]
    spoiled = trained.root / "spoiled"
    shutil.copytree(trained.root / "model", spoiled, dirs_exist_ok=True)
    weights = load_file(spoiled / "transformer.safetensors")
    weights["gaussian.variance_P"] = weights["gaussian.variance_P"].flip(0)  # what is faint and what is not, confused
    save_file(weights, spoiled / "transformer.safetensors")
    bad = evaluate(trained, scenes=0, model_dir=str(spoiled))["heldout_flow_loss", "all"]
    assert bad["ci_low"] > good["ci_high"]


@needs_minilm
def test_the_model_is_told_what_was_measured_of_the_clips(trained: TrainingWorld) -> None:
    members = json.loads(trained.manifest.read_text())["members"]
    path = trained.root / "numbers.json"
    path.write_text(json.dumps({m["clip_id"]: {"pan": 0.3, "quality": 0.1} for m in members}))
    without, conditioned = (
        evaluate(trained, scenes=0, numbers=n)["heldout_flow_loss", "all"]["value"] for n in ("", str(path))
    )
    assert conditioned != without
    path.write_text('{"ab": {"speed": 1}}')
    assert main(["--config", str(trained.root / "evaluate.json")]) == 1


def test_the_flow_loss_does_not_depend_on_how_clips_are_grouped(trained: TrainingWorld) -> None:
    from training.data.clips import Encoded, LatentClips, read_members

    members = read_members(trained.manifest, "heldout")
    clips = LatentClips(Encoded(trained.root / "latents", trained.root / "texts", 2, 4), members)
    samples = [clips.read(member["clip_id"]) for member in members]
    model = load_transformer(trained.root / "model")
    together, apart = flow_loss(model, samples), flow_loss(model, samples, token_budget=1)
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4)


METRIC = Metric("m", "1", "higher", "by hand")


def video(seed: int) -> torch.Tensor:
    return torch.from_numpy(render(random_scene(seed), 48, 48, 17, 8.0))


def noisy(frames: torch.Tensor, levels: float) -> torch.Tensor:
    noise = torch.randn(frames.shape, generator=torch.Generator().manual_seed(0)) * levels
    return (frames.float() + noise).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_reconstruction_falls_with_every_more_noise(measure) -> None:
    clean = video(1)
    scores = [measure(clean, noisy(clean, levels)) for levels in (2, 8, 30)]
    assert scores == sorted(scores, reverse=True)
    assert measure(clean, clean) == pytest.approx(100 if measure is psnr else 1)


def test_psnr_is_what_its_formula_says() -> None:
    black, grey = torch.zeros(1, 8, 8, 3, dtype=torch.uint8), torch.full((1, 8, 8, 3), 51, dtype=torch.uint8)
    assert psnr(black, grey) == pytest.approx(13.979, abs=1e-3)  # 20 log10(255 / 51)


@pytest.mark.parametrize("measure", [quality.flicker, motion.smoothness])
def test_real_motion_is_smoother_than_shuffled_frames_and_noise(measure) -> None:
    order = torch.randperm(17, generator=torch.Generator().manual_seed(1))
    for seed in range(4):
        real = video(seed)
        assert measure(real) > measure(real[order])
        assert measure(real) > measure(noisy(real, 20))


def test_a_frozen_video_is_not_dynamic_and_a_moving_one_is() -> None:
    moving = video(3)
    assert motion.dynamic(moving[::3], 8.0) == 1.0  # a third of the frames: three times as fast
    assert motion.dynamic(moving[:1].expand(17, -1, -1, -1), 8.0) == 0.0
    assert motion.dynamic(moving[:1], 8.0) is None


def test_a_nearly_exact_repetition_is_a_copy_and_an_unseen_clip_is_none() -> None:
    train, heldout = (torch.stack([copies.descriptor(video(s)) for s in seeds]) for seeds in (range(20), range(20, 30)))
    repeated = copies.descriptor(noisy(video(7), 10))
    unseen = [copies.descriptor(video(seed)) for seed in range(40, 50)]
    assert copies.copied([repeated, *unseen], train, heldout) == [True] + [False] * 10


def test_the_copy_ratio_is_about_one_for_unseen_clips_and_far_below_for_repeated_ones() -> None:
    train, heldout, unseen = (
        torch.stack([copies.descriptor(video(s)) for s in seeds]) for seeds in (range(20), range(20, 40), range(40, 60))
    )
    fair = copies.copy_ratios(unseen, train, heldout)
    assert sum(fair) / len(fair) == pytest.approx(1, abs=0.15)
    assert max(copies.copy_ratios(train[:5], train, heldout)) < 0.01


def test_the_colour_of_every_rendered_scene_is_read_right() -> None:
    wrong = [seed for seed in range(50) if colour_of(video(seed)) != random_scene(seed).colour]
    assert wrong == []


def test_a_landscape_without_shapes_has_no_colour() -> None:
    assert colour_of(torch.full((2, 16, 16, 3), 120, dtype=torch.uint8)) is None


def test_an_interval_holds_the_mean_and_is_the_same_every_time() -> None:
    values = [float(i % 7) for i in range(40)]
    low, high = interval(values, "m")
    assert low < sum(values) / 40 < high
    assert (low, high) == interval(values, "m")
    wide = interval(values[:5], "m")
    assert wide[1] - wide[0] > high - low


def test_rows_say_what_was_measured_and_why_something_was_not() -> None:
    values = {"a": 1.0, "b": 3.0, "c": 5.0}
    rows = METRIC.slices(values, {"all": ["a", "b", "c"], "aspect=square": ["a", "b"], "aspect=portrait": ["c"]})
    assert [(r["slice"], r["value"], r["n"], r["state"]) for r in rows] == [
        ("all", 3.0, 3, "measured"),
        ("aspect=square", 2.0, 2, "measured"),
    ]
    missing = METRIC.missing("no weights")
    assert (missing["value"], missing["n"], missing["state"], missing["why"]) == (None, 0, "not_measured", "no weights")
    assert missing.keys() == rows[0].keys()
