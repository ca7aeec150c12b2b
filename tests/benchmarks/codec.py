"""What the autoencoder keeps of real footage: held-out PSNR at 64 pixels against the CPU time that it was trained for.

Clips are the sample footage as the dataset stage renders it (17 frames at 8 a second, about 4096 pixels); of every film
the last fifth is held out, a second after the rest ends. Training is the trainer's own learner, steps and rates on one
thread; its CPU time is this process's, decoding and measuring not counted.
The environment variable RUSHES_CODEC_MINUTES shortens the budget.

OMP_NUM_THREADS=1 python -m tests.benchmarks codec
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from assets.dataset.renditions import NANO, choose_moment, crop_and_resize
from tests.benchmarks.harness import cpu_of
from training.config import TrainConfig
from training.data.clips import FrameClips
from training.data.packing import Cursor
from training.data.steps import codec_steps
from training.data.video import read_frames
from training.trainer.codec_learner import CodecLearner

FOOTAGE = Path(__file__).parents[2] / ".vendor" / "footage"
MINUTES_ENV = "RUSHES_CODEC_MINUTES"
ACCEPTED_DB, BUDGET_MINUTES = 28.0, 30.0
HELD_OUT = 0.2
CLIP_S, STEP_S, GAP_S = 2.1, 0.5, 1.0


def windows(length_s: float) -> tuple[list[float], list[float]]:
    """Starts in seconds of the clips to train on, which overlap, and of those to hold out, which do not."""
    border = length_s * (1 - HELD_OUT)
    train = [i * STEP_S for i in range(int((border - GAP_S - CLIP_S) / STEP_S) + 1)]
    return train, [border + i * CLIP_S for i in range(max(1, int((length_s - border) / CLIP_S)))]


def render_footage(folder: Path) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Write the clips' frames; members to train on and held out."""
    members: tuple[list[dict[str, str]], list[dict[str, str]]] = ([], [])
    for film in sorted(FOOTAGE.iterdir()):
        frames, fps = read_frames(film, max_side=256)
        for which, starts in enumerate(windows(len(frames) / fps)):
            for start_s in starts:
                first = round(start_s * fps)
                moment = choose_moment(first, min(len(frames), first + round(CLIP_S * fps)), fps, NANO)
                pictures = crop_and_resize(frames[list(moment.indices)])
                clip_id = f"{film.stem}-{first:06d}"
                save_file({"frames": torch.from_numpy(pictures)}, folder / f"{clip_id}.safetensors", {"fps": "8"})
                members[which].append({"clip_id": clip_id})
    return members


def trained(learner: CodecLearner, clips: FrameClips, budget_s: float) -> list[dict[str, float]]:
    """Train for so many CPU seconds; what the held-out clips lose on the way."""
    spent, shares = 0.0, [0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0]  # of the budget, after which the curve has a point
    curve = [{"cpu_minutes": 0.0, **learner.heldout()}]
    optimizer = learner.configure_optimizers()
    for step in codec_steps(learner.config, clips, Cursor(), 1):
        started = time.process_time()
        # the rate follows time, not steps: the budget is CPU seconds
        done = max(1, min(learner.config.steps, round(spent / budget_s * learner.config.steps)))
        for group in optimizer.param_groups:
            group["lr"] = group["scale"] * learner.learning_rate(done) * min(1.0, (len(curve) + step.step) / 30)
        learner.last = step
        optimizer.zero_grad()
        (learner.losses(step) * step.weight_S).sum().backward()
        learner.clip(list(learner.model.parameters()))
        optimizer.step()
        learner.average.update()
        spent += time.process_time() - started
        reached = [share for share in shares if spent >= share * budget_s]
        if reached:
            del shares[: len(reached)]
            curve.append({"cpu_minutes": round(spent / 60, 2), **learner.heldout()})
            print(curve[-1], f"{step.step / spent:.2f} steps a CPU second", flush=True)
        if spent >= budget_s:
            break
    return curve


def codec() -> dict[str, Any]:
    torch.set_num_threads(1)
    minutes = float(os.environ.get(MINUTES_ENV, BUDGET_MINUTES))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train, heldout = render_footage(folder)
        places = {
            "frames_dir": name,
            "run_dir": name,
            "manifest": "never read",
            "snapshot_root": "",
            "database_url": "",
        }
        steps = 1_000_000  # more than there is time for; rates are laid over the budget
        config = TrainConfig("codec", steps=steps, warmup=1, decay=0.7, batch_tokens=1280, lr=2e-3, **places)
        clips = FrameClips(folder, train)
        learner = CodecLearner(config, clips, FrameClips(folder, heldout))
        start_s = cpu_of(learner.initialise)
        curve = trained(learner, clips, minutes * 60)
    end = curve[-1]["heldout/psnr_db"]
    parts = [b["heldout/psnr_db"] - a["heldout/psnr_db"] for a, b in itertools.pairwise(curve)]
    return {
        "clips": {"trained_on": len(train), "held_out": len(heldout)},
        "parameters": sum(p.numel() for p in learner.model.parameters()),
        "values_a_latent": config.codec.tube_values / config.codec.channels,
        "pca_start_cpu_s": round(start_s, 2),
        "heldout": [{name: round(value, 3) for name, value in point.items()} for point in curve],
        "still_rising_by_db": round(parts[-1], 3),
        "heldout_psnr_db": round(end, 2),
        "accepted": {"heldout_psnr_db": ACCEPTED_DB, "cpu_minutes": BUDGET_MINUTES},
        "missed_by_db": round(max(0.0, ACCEPTED_DB - end), 2),
    }
