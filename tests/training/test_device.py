"""Where models compute: one rule, nothing left behind on the processor, and the same results wherever it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.conftest import TrainingWorld, scene_clip
from tests.training.second_device import Remote, second_device
from training import device
from training.config import EvaluateConfig, TrainConfig
from training.data.clips import Encoded, FrameClips, LatentClips, read_members
from training.data.packing import Batch, Cursor, Sample, collate
from training.data.steps import Share
from training.encode import encode_clip
from training.evaluate.flow_losses import flow_losses, reference_losses
from training.evaluate.heldout import reconstruct
from training.fit import fit
from training.model import flow
from training.model.codec import build_codec, load_codec
from training.model.conditioning import numbers
from training.model.config import LADDER, ConfigError, TransformerConfig
from training.model.transformer import Transformer, grid_of, positions, save_transformer, to_tokens
from training.sampling.references import Reference
from training.sampling.sampler import Options, Pipeline, Sampler
from training.trainer.metrics import RunLogger
from training.trainer.tasks import open_task

CPU = torch.device("cpu")
CLOSE: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-4}  # the processor alone has a norm of its own


def test_the_configurations_device_goes_before_the_variable_and_that_before_the_rule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(device.VARIABLE, raising=False)
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert device.chosen().type == best
    monkeypatch.setenv(device.VARIABLE, "meta")
    assert device.chosen().type == "meta"
    assert device.chosen("cpu") == CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to use")
@pytest.mark.parametrize("name", ["cuda", "cuda:7", "gpu"])
def test_a_device_that_is_not_there_is_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(
        ConfigError, match=f"device '{name}' cannot be used here; set RUSHES_DEVICE to cuda, mps or cpu"
    ):
        device.chosen(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to use")
def test_a_run_without_its_device_says_so_and_leaves_no_weights(world: TrainingWorld) -> None:
    config = world.flow_config(device="cuda")
    assert fit(config, RunLogger(Path(config.run_dir))) == 1
    assert "device 'cuda'" in json.loads((Path(config.run_dir) / "result.json").read_text())["stopped"]
    assert not list(Path(config.run_dir).glob("*.safetensors"))


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Callable[..., None]]:
    """Calls a check in a process of its own: autograd counts its devices once, at its first use."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield lambda check, *arguments: pool.submit(check, *arguments).result()


def computes_and_notices() -> None:
    with second_device() as place:
        layer = torch.nn.Linear(3, 2).to(place)
        x = torch.randn(4, 3)
        layer(x.to(place)).sum().backward()
        assert isinstance(layer.weight.grad, Remote)
        assert device.of(layer) == place
        with pytest.raises(RuntimeError, match=r"meets .* on second:0 and .* on the processor"):
            layer(x)


def test_the_second_device_computes_and_notices_what_was_left_behind(elsewhere: Callable[..., None]) -> None:
    elsewhere(computes_and_notices)


def on_both(compute: Callable[[torch.device], Sequence[Tensor]]) -> None:
    """What is computed on the second device is there, and what the processor computes."""
    with second_device() as place:
        remote = [x.cpu() for x in compute(place)]
    for a, b in zip(compute(CPU), remote, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


def trains(config: TrainConfig) -> None:
    def compute(place: torch.device) -> list[Tensor]:
        opened = open_task(config, place)
        learner = opened.learner
        learner.initialise()
        start = list(learner.heldout().values())
        optimizer = learner.configure_optimizers()
        for step in islice(opened.steps(Cursor(), 1, Share()), 2):
            loss = learner.training_step(step, 0)
            loss.backward()
            learner.clip(list(learner.model.parameters()))
            optimizer.step()
            optimizer.zero_grad()
            learner.average.update()
        return [loss.detach(), torch.tensor([*start, *learner.heldout().values()])]

    on_both(compute)


@pytest.mark.parametrize("task", ["codec", "transformer"])
def test_training_leaves_nothing_on_the_processor(
    world: TrainingWorld, task: str, elsewhere: Callable[..., None]
) -> None:
    config = world.config() if task == "codec" else world.flow_config(activation_checkpointing=True)
    elsewhere(trains, config)


class Words:
    """A text encoder's place: a token sequence a text."""

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.random.default_rng(len(t)).normal(size=(3, 384)).astype(np.float32) for t in texts]


def lively(config: TransformerConfig) -> Transformer:
    """A transformer none of whose weights is zero, as they are at the start of a training."""
    torch.manual_seed(0)
    model = Transformer(config)
    for parameter in model.parameters():
        parameter.data.copy_(torch.randn(parameter.shape) * 0.05)
    return model


TINY = TransformerConfig(width=32, layers=2, heads=2)


def samples(root: Path, method: str) -> None:
    references = [Reference("first", scene_clip(0)[:1], 8.0), Reference("last", scene_clip(2)[:1], 8.0)]
    options = Options(Sampler(2, 2.0, method, rescale=0.5), 9, (32, 32), "grey", references=references)

    def compute(place: torch.device) -> list[Tensor]:
        codec, model = load_codec(root / "codec").to(place), lively(TINY).eval().to(place)
        pipeline = Pipeline(codec, model, Words())  # type: ignore[arg-type]
        return [video.float() for video in pipeline(["a red ball", "waves"], [1, 2], options)]

    with second_device() as place:
        remote = compute(place)
    assert not any(isinstance(video, Remote) for video in remote)  # they are written to files
    for a, b in zip(compute(CPU), remote, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1)  # grey levels


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_sampling_leaves_nothing_on_the_processor(
    world: TrainingWorld, method: str, elsewhere: Callable[..., None]
) -> None:
    elsewhere(samples, world.root, method)


def encodes_and_evaluates(root: Path, manifest: Path) -> None:
    members = read_members(manifest, "heldout")
    frames = FrameClips(root / "frames", members)
    folders = {name: str(root / name.removesuffix("_dir")) for name in ("frames_dir", "latents_dir")}
    folders |= {"text_dir": str(root / "texts"), "model_dir": str(root / "model")}
    save_transformer(lively(TINY).state_dict(), TINY, root / "model", {})
    names = dict.fromkeys(("manifest", "snapshot_root", "text_encoder", "out"), "")
    config = EvaluateConfig(**folders, **names)

    def compute(place: torch.device) -> list[Tensor]:
        codec, model = load_codec(root / "codec").to(place), lively(TINY).eval().to(place)
        latent, _, _ = encode_clip(codec, frames, members[0]["clip_id"], 4)
        clips = LatentClips(Encoded(config.latents_dir, config.text_dir, 2, 4), members)
        samples = [clips.read(clip_id) for clip_id in clips.captions]
        measured = flow_losses(model, samples, {"all": [s.clip_id for s in samples]})
        measured += reference_losses(config, model, 4, read_members(manifest, "train"), samples)
        losses = [row["value"] for row in measured.rows if row["metric"] == "heldout_flow_loss" and row["n"]]
        assert len(losses) == 3
        shown = reconstruct(codec, frames.read(members[0]["clip_id"])[0])
        assert not isinstance(shown, Remote)
        return [latent, torch.tensor(losses), shown.float()[:, ::8, ::8]]

    on_both(compute)


def test_encoding_and_evaluation_leave_nothing_on_the_processor(
    world: TrainingWorld, elsewhere: Callable[..., None]
) -> None:
    elsewhere(encodes_and_evaluates, world.root, world.manifest)


def packed(config: TransformerConfig, *grids: tuple[int, int, int]) -> Batch:
    samples = []
    for i, grid in enumerate(grids):
        x_NP = torch.randn(grid[0] * grid[1] * grid[2], config.token_values)
        samples.append(
            Sample(f"c{i}", x_NP, grid, positions(grid, 0.5), torch.randn(5 + i, config.text_width), numbers({}))
        )
    return collate(samples)


def velocity(model: Transformer, batch: Batch) -> Tensor:
    t_F, given_N = torch.rand(len(batch.segment_F)), torch.zeros(len(batch.x_NP), dtype=torch.bool)
    return model(batch.x_NP, t_F.to(batch.x_NP.device), given_N.to(batch.x_NP.device), batch)


def test_activations_computed_anew_give_the_same_gradients() -> None:
    torch.manual_seed(1)
    batch, gradients, saved = packed(TINY, (3, 2, 2), (1, 4, 2)), [], []
    for checkpointing in (False, True):
        model = lively(TINY)
        model.checkpointing = checkpointing
        torch.manual_seed(2)
        kept: list[int] = []

        def keep(x: Tensor, kept: list[int] = kept) -> Tensor:
            kept.append(x.numel())
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            loss = velocity(model, batch).square().mean()
        loss.backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
        saved.append(sum(kept))
    assert saved[1] < saved[0] / 2
    assert len(gradients[0]) == len(gradients[1])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("adaln", ["single", "zero"])
def test_in_bf16_modulation_norms_and_rotations_stay_in_fp32(adaln: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TransformerConfig(width=32, layers=2, heads=2, adaln=adaln)
    model, batch = lively(config), packed(config, (3, 2, 2), (1, 4, 2))
    seen: dict[str, set[torch.dtype]] = {"modulation": set(), "mlp": set(), "rotation": set()}
    for name, module in model.named_modules():
        part = name.rsplit(".", 1)[-1]
        if part in ("modulation", "mlp"):
            module.register_forward_hook(lambda _m, _i, out, part=part: seen[part].add(out.dtype))
    plain_norm = torch.nn.functional.layer_norm
    monkeypatch.setattr(
        torch.nn.functional, "layer_norm", lambda x, *a: (seen["rotation"].add(x.dtype), plain_norm(x, *a))[1]
    )
    torch.manual_seed(3)
    exact = velocity(model, batch)
    torch.manual_seed(3)
    for dtypes in seen.values():
        dtypes.clear()
    with torch.autocast("cpu", torch.bfloat16):
        half = velocity(model, batch)
    assert seen == {"modulation": {torch.float32}, "mlp": {torch.bfloat16}, "rotation": {torch.float32}}
    torch.testing.assert_close(half.float(), exact, rtol=0, atol=0.03 * float(exact.detach().abs().max()))
    assert not torch.equal(half.float(), exact)


@pytest.mark.parametrize("size", ["S", "B", "L", "XL", "2B"])
def test_a_large_size_takes_its_own_clips_from_pixels_to_a_loss(size: str) -> None:
    rung, meta = LADDER[size], torch.device("meta")
    with meta:
        codec, model = build_codec(rung.codec), Transformer(rung.transformer)
    width, height = rung.data.size(16, 9)
    frames = rung.data.frames
    (z_Cthw,) = codec.encode(torch.empty(1, 3, frames, height, width, device=meta))
    assert z_Cthw.shape == (16, (frames - 1) // 4 + 1, height // 8, width // 8)
    x_NP, grid = to_tokens(z_Cthw, rung.transformer.patch)
    assert grid == grid_of(frames, (width, height), 4, 16)
    sample = Sample("c", x_NP, grid, positions(grid, 0.25), torch.randn(9, 384), numbers({}))
    batch = collate([sample, sample]).to(meta)
    v_NP = velocity(model, batch)
    given_N = torch.zeros(len(v_NP), dtype=torch.bool, device=meta)
    loss_S = flow.loss_per_sample(v_NP, batch.x_NP, given_N, batch.segments)
    assert (loss_S.shape, loss_S.dtype, loss_S.device) == ((2,), torch.float32, meta)
    assert codec.decode(z_Cthw[None]).shape == (1, 3, frames, height, width)
