"""A training run: what it leaves behind, how it resumes, and when it refuses."""

from __future__ import annotations

import copy
import json
import math
import os
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training.conftest import TrainingWorld, make_world
from training.config import TrainConfig
from training.data.clips import Encoded, LatentClips, read_members
from training.fit import fit, main
from training.model.codec import build_codec
from training.model.conditioning import NUMERIC, read_numbers
from training.model.config import TransformerConfig
from training.trainer.checkpoint import checkpoints, clear
from training.trainer.learner import TransformerLearner
from training.trainer.metrics import RunLogger

ROOT = Path(__file__).parents[2]


def run(config, until=None) -> tuple[int, dict]:
    code = fit(config, RunLogger(Path(config.run_dir)), until)
    assert "steps ahead" not in {thread.name for thread in threading.enumerate()}, "no run leaves a thread behind"
    return code, json.loads((Path(config.run_dir) / "result.json").read_text())


def weights(folder: str | Path) -> dict[str, torch.Tensor]:
    return {p.name: load_file(p) for p in Path(folder).glob("*.safetensors")}["transformer.safetensors"]


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def test_a_codec_run_leaves_weights_metrics_and_a_result(world: TrainingWorld) -> None:
    code, result = run(world.config())
    assert code == 0
    assert result["stopped"] is None
    assert result["end"]["heldout/psnr_db"] > 20
    run_dir = Path(world.config().run_dir)
    assert {p.name for p in run_dir.iterdir()} >= {"codec.safetensors", "codec.json", "metrics.jsonl", "checkpoints"}
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert records[0]["step"] == 0
    assert "heldout/psnr_db" in records[0]
    assert sum("train/loss" in record for record in records) == 6


@pytest.mark.parametrize("matrix_lr", [0.0, 0.02])
def test_ten_steps_equal_five_and_five_after_a_resume_to_the_last_bit(world: TrainingWorld, matrix_lr: float) -> None:
    whole = world.flow_config("whole", steps=10, matrix_lr=matrix_lr)
    assert run(whole)[0] == 0
    parted = world.flow_config("parted", steps=10, matrix_lr=matrix_lr)
    code, result = run(parted, until=5)
    assert code == 0
    assert result["stopped"] == "interrupted after step 5"
    code, result = run(parted)
    assert (code, result["resumed_from_step"], result["stopped"]) == (0, 5, None)
    assert_same(weights(whole.run_dir), weights(parted.run_dir))


def test_a_checkpoint_of_another_optimiser_is_another_runs(world: TrainingWorld) -> None:
    assert run(world.flow_config("both", steps=4), until=2)[0] == 0
    assert "resumed_from_step" not in run(world.flow_config("both", steps=4, matrix_lr=0.02))[1]


def test_muon_moves_the_blocks_matrices_alone_as_torchs_own_does(world: TrainingWorld) -> None:
    learner = TransformerLearner(world.flow_config(matrix_lr=0.02), TransformerConfig(32, 1, 2), [])
    optimizer = learner.configure_optimizers()
    own = dict(copy.deepcopy(learner.model).named_parameters())
    names = {parameter: name for name, parameter in learner.model.named_parameters()}
    muon = {names[p] for group in optimizer.param_groups if group["muon"] for p in group["params"]}
    assert {name.split(".")[0] for name in muon} == {"blocks", "modulation"}
    assert {name for name in own if name.startswith("blocks.0.mlp")} - muon == {
        "blocks.0.mlp.0.bias",
        "blocks.0.mlp.2.bias",
    }
    rules = [
        torch.optim.Muon([own[name] for name in own if name in muon], lr=2e-3, weight_decay=0.01),
        torch.optim.AdamW(
            [own[name] for name in own if name not in muon], lr=2e-3, betas=(0.9, 0.99), weight_decay=0, fused=True
        ),
    ]
    for parameter, name in names.items():
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
        own[name].grad = parameter.grad.clone()
    before = {name: p.detach().clone() for name, p in own.items()}
    for group in optimizer.param_groups:
        group["lr"], group["weight_decay"] = 2e-3, 0.01 if group["muon"] else 0.0
    for rule in (optimizer, *rules):
        rule.step()
    for parameter, name in names.items():  # torch's Muon computes in bfloat16
        apart, moved = (parameter - own[name]).norm(), (own[name] - before[name]).norm()
        assert apart <= (0.02 * moved if name in muon else 0)
    assert [name for name, p in own.items() if torch.equal(p, before[name])] == []


def test_a_clip_that_has_no_latent_is_left_out_by_name_and_all_of_a_split_may_not_be(
    world: TrainingWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    config = world.flow_config(steps=2)
    train = [member["clip_id"] for member in read_members(config.manifest, "train")]
    (Path(config.latents_dir) / f"{train[0]}.safetensors").unlink()
    assert run(replace(config, left_out=train[:1]))[0] == 0
    assert fit(replace(config, left_out=train, resume=False), RunLogger(Path(config.run_dir))) == 1
    assert fit(replace(config, resume=False), RunLogger(Path(config.run_dir))) == 1


def test_a_revoked_consent_stops_the_run_before_its_first_step(world: TrainingWorld) -> None:
    world.people.revoke(world.consents[0])
    code, result = run(world.flow_config())
    assert code == 3
    assert len(result["reasons"]) == 1
    assert not (Path(world.flow_config().run_dir) / "checkpoints").exists()


def test_a_consent_revoked_during_training_stops_the_run_at_the_next_checkpoint(world: TrainingWorld) -> None:
    config = world.flow_config(steps=40, checkpoint_every=4)

    class Revoking(RunLogger):
        """A reporter in whose hearing a contributor withdraws after the sixth step."""

        def log_metrics(self, metrics, step=None):
            super().log_metrics(metrics, step)
            if step == 6:
                world.people.revoke(world.consents[1])

    assert fit(config, Revoking(Path(config.run_dir))) == 3
    result = json.loads((Path(config.run_dir) / "result.json").read_text())
    assert len(result["reasons"]) == 1
    assert [p.name for p in checkpoints(Path(config.run_dir) / "checkpoints")] == ["step-00000004"]
    assert not (Path(config.run_dir) / "transformer.safetensors").exists()


def test_an_edited_manifest_is_refused(world: TrainingWorld) -> None:
    manifest = json.loads(world.manifest.read_text())
    manifest["members"][0]["caption"] = "something else"
    world.manifest.write_text(json.dumps(manifest))
    assert run(world.flow_config())[0] == 3


def test_a_latent_that_is_not_a_number_stops_the_run_and_names_its_clip(world: TrainingWorld) -> None:
    members = read_members(world.manifest, "train")
    broken = world.root / "latents" / f"{members[0]['clip_id']}.safetensors"
    latent = load_file(broken)["latent"]
    save_file({"latent": latent * float("nan")}, broken)
    code, result = run(world.flow_config(steps=20))
    assert code == 4
    assert members[0]["clip_id"] in result["clip_ids"]
    assert "nan" in result["stopped"]


def test_missing_files_are_named_before_anything_is_trained(world: TrainingWorld) -> None:
    clip_id = read_members(world.manifest, "train")[0]["clip_id"]
    (world.root / "latents" / f"{clip_id}.safetensors").unlink()
    code, result = run(world.flow_config())
    assert code == 1
    assert clip_id in result["stopped"]


def test_another_snapshot_starts_anew_and_says_so(tmp_path: Path, capsys) -> None:
    first, second = make_world(tmp_path / "one"), make_world(tmp_path / "two", clips=8)
    assert run(first.config(run_dir=str(tmp_path / "run"), steps=2))[0] == 0
    code, result = run(second.config(run_dir=str(tmp_path / "run"), steps=2))
    assert code == 0
    assert "resumed_from_step" not in result
    assert "snapshot_root has changed" in capsys.readouterr().out


def test_what_was_measured_of_clips_is_told_and_a_change_of_it_starts_anew(
    world: TrainingWorld, tmp_path: Path, capsys
) -> None:
    members = read_members(world.manifest, "train")
    path = tmp_path / "numbers.json"
    path.write_text(json.dumps({m["clip_id"]: {"pan": -0.2, "quality": 0.9} for m in members[:1]}))
    config = world.flow_config(steps=2, numbers=str(path))
    clips = LatentClips(Encoded(config.latents_dir, config.text_dir, 2, 4), members, measured=read_numbers(path))
    first, second = (dict(zip(NUMERIC, clips.read(m["clip_id"]).numeric, strict=True)) for m in members[:2])
    assert (first["fps"], first["pan"], first["quality"]) == (8.0, -0.2, 0.9)
    assert first["motion"] > 0
    assert math.isnan(first["tilt"])
    assert math.isnan(second["pan"])
    assert run(config)[0] == 0
    path.write_text("{}")
    assert "resumed_from_step" not in run(config)[1]
    assert "numbers_sha256 has changed" in capsys.readouterr().out
    path.write_text('{"ab": {"speed": 1}}')
    assert "of clip ab: no numeric condition speed" in run(config)[1]["stopped"]


def test_a_finished_run_asked_again_trains_nothing_and_gives_the_same_weights(world: TrainingWorld) -> None:
    config = world.flow_config()
    run(config)
    before = weights(config.run_dir)
    code, result = run(config)
    assert (code, result["resumed_from_step"]) == (0, config.steps)
    assert_same(before, weights(config.run_dir))


def test_a_half_written_checkpoint_is_never_resumed_from(world: TrainingWorld) -> None:
    config = world.flow_config()
    run(config, until=2)
    folder = Path(config.run_dir) / "checkpoints"
    (folder / ".step-00000004.123.partial").mkdir()
    assert [p.name for p in checkpoints(folder)] == ["step-00000002"]


def test_a_checkpoint_that_a_kill_left_half_removed_is_never_resumed_from(
    world: TrainingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = world.config(steps=4)
    assert run(config, until=2)[0] == 0
    folder = Path(config.run_dir) / "checkpoints"

    def killed(path: Path) -> None:
        (path / "state.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("training.trainer.checkpoint.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            clear(folder)
    assert checkpoints(folder) == []
    code, result = run(config)
    assert (code, result["stopped"], "resumed_from_step" in result) == (0, None, False)
    assert {path.name for path in folder.iterdir()} == {"step-00000002", "step-00000004"}


def launch(config: TrainConfig, *command: str) -> subprocess.Popen:
    path = Path(config.run_dir).with_suffix(".json")
    path.write_text(json.dumps(asdict(config)))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", *(command or ("training.fit",)), "--config", str(path)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(world: TrainingWorld) -> None:
    whole, killed = (world.flow_config(name, steps=24, checkpoint_every=3) for name in ("whole", "killed"))
    process = launch(killed)
    assert process.stdout is not None
    for line in process.stdout:
        if "step 8/24" in line:
            process.kill()
    assert process.wait() == -9
    assert 3 <= run(killed)[1]["resumed_from_step"] <= 9
    assert run(whole)[0] == 0
    assert_same(weights(whole.run_dir), weights(killed.run_dir))


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(world: TrainingWorld) -> None:
    alone, parted = (world.flow_config(name, steps=4, batch_tokens=240) for name in ("one", "two"))
    assert run(alone)[0] == 0
    assert (
        launch(parted, "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "training.fit").wait() == 0
    )
    ends = [
        json.loads((Path(c.run_dir) / "result.json").read_text())["end"]["heldout/flow_loss"] for c in (alone, parted)
    ]
    assert ends[0] == pytest.approx(ends[1], rel=1e-3)


def test_an_unknown_key_ends_the_command_with_a_clear_message(tmp_path: Path, capsys) -> None:
    (tmp_path / "c.json").write_text('{"task": "codec", "stepz": 3}')
    assert main(["--config", str(tmp_path / "c.json")]) == 1
    assert "did you mean 'steps'" in capsys.readouterr().err


NETWORKS = Path(__file__).parents[2] / ".vendor" / "networks"
PERCEPTUAL = {"perceptual": 0.05, "adversarial": 0.05, "borders": 1.0, "networks": str(NETWORKS)}


@pytest.mark.skipif(not (NETWORKS / "lpips-alex.pt").exists(), reason="run `make setup`")
def test_a_codec_with_likeness_and_a_critic_resumes_to_the_last_bit_and_publishes_no_critic(
    world: TrainingWorld,
) -> None:
    whole, parted = (world.config(name, steps=4, **PERCEPTUAL) for name in ("whole", "parted"))
    code, result = run(whole)
    assert code == 0
    assert {"heldout/codec_loss", "heldout/lpips", "heldout/seams"} <= result["end"].keys()
    run(parted, until=2)
    assert run(parted)[1]["resumed_from_step"] == 2
    published, again = (load_file(Path(config.run_dir) / "codec.safetensors") for config in (whole, parted))
    assert_same(published, again)
    last = [
        load_file(checkpoints(Path(c.run_dir) / "checkpoints")[-1] / "weights.safetensors") for c in (whole, parted)
    ]
    assert_same(*last)
    assert published.keys() == build_codec(whole.codec).state_dict().keys()


def test_a_missing_network_is_named_with_what_to_do(world: TrainingWorld, tmp_path: Path) -> None:
    code, result = run(world.config(**PERCEPTUAL | {"networks": str(tmp_path)}))
    assert code == 1
    assert "make setup" in result["stopped"]
    assert "perceptual" in result["stopped"]
