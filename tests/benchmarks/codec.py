"""What autoencoders keep of real footage that they never saw, and what training them costs.

Clips are the sample footage as the dataset stage renders it for a size of the ladder; of every film the last two fifths are
held out, a second after the rest ends. Training is the trainer's own learner, recipe and rates on one thread; its CPU time is
this process's, decoding and measuring not counted. Beside the trained codec and its start are the base that ships with the
size and pretrained autoencoders from folders, on the same held-out clips. rFVD is small only beside another codec's: its
interval says how few clips these are.

OMP_NUM_THREADS=1 python -m tests.benchmarks codec --size nano --minutes 10 --pretrained FOLDER
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from assets.dataset.renditions import choose_moment, crop_and_resize
from tests.benchmarks.harness import cpu_of
from training.base import folder as base_folder
from training.config import RECIPE, TrainConfig
from training.data.clips import FrameClips
from training.data.packing import Cursor
from training.data.policy import DataPolicy
from training.data.steps import codec_steps
from training.data.video import read_frames
from training.evaluate.distribution import distance_rows
from training.evaluate.heldout import CodecGoal, codec_measures, reconstruct
from training.model.codec import load_codec
from training.model.config import LADDER
from training.model.patches import VideoCodec
from training.networks import i3d
from training.networks.lpips import Lpips
from training.trainer.codec_learner import CodecLearner

FOOTAGE = Path(__file__).parents[2] / ".vendor" / "footage"
NETWORKS = FOOTAGE.with_name("networks")
ACCEPTED_DB = 28.0  # of nano after half an hour
HELD_OUT = 0.4
STEP_S, GAP_S = 0.5, 1.0


def windows(length_s: float, clip_s: float) -> tuple[list[float], list[float]]:
    """Starts in seconds of the clips to train on, which overlap, and of those to hold out, which do not."""
    border = length_s * (1 - HELD_OUT)
    train = [i * STEP_S for i in range(int((border - GAP_S - clip_s) / STEP_S) + 1)]
    return train, [border + i * clip_s for i in range(max(1, int((length_s - border) / clip_s)))]


def render_footage(folder: Path, policy: DataPolicy) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Write the clips' frames; members to train on and held out."""
    members: tuple[list[dict[str, str]], list[dict[str, str]]] = ([], [])
    clip_s = policy.seconds + 0.1
    for film in sorted(FOOTAGE.iterdir()):
        frames, fps = read_frames(film, max_side=max(256, 2 * policy.side))
        for which, starts in enumerate(windows(len(frames) / fps, clip_s)):
            for start_s in starts:
                first = round(start_s * fps)
                moment = choose_moment(first, min(len(frames), first + round(clip_s * fps)), fps, policy)
                pictures = crop_and_resize(frames[list(moment.indices)], policy)
                clip_id = f"{film.stem}-{first:06d}"
                rate = {"fps": f"{policy.fps:g}"}
                save_file({"frames": torch.from_numpy(pictures)}, folder / f"{clip_id}.safetensors", rate)
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


def measured(codec: VideoCodec, clips: Sequence[torch.Tensor], lpips: Lpips, network: i3d.I3d) -> dict[str, Any]:
    """PSNR, SSIM, LPIPS, seams and rFVD of what the codec makes of the clips."""
    goal = CodecGoal(codec.config.patch, lpips=lpips)
    values = {name.removeprefix("heldout/"): x for name, x in codec_measures(codec, clips, goal).items()}
    real, made = (
        torch.stack([i3d.features(network, x) for x in videos])
        for videos in (clips, [reconstruct(codec, x) for x in clips])
    )
    row = distance_rows("codec", made, real)[0]
    rfvd = {"rfvd": row["value"], "rfvd_low": row["ci_low"], "rfvd_high": row["ci_high"]}
    of = {"pixel_values_a_latent_value": codec.config.tube_values / codec.config.channels}
    return {name: round(float(value), 4) for name, value in (of | values | rfvd).items()}


def others(size: str, pretrained: Path | None) -> Mapping[str, VideoCodec]:
    """The base that ships with the size and the autoencoder in the folder, where there are any."""
    folders = {"base": base_folder(size), str(pretrained): pretrained}
    return {name: load_codec(folder) for name, folder in folders.items() if folder is not None}


def codec(size: str = "nano", minutes: float = 30.0, pretrained: Path | None = None) -> dict[str, Any]:
    torch.set_num_threads(1)
    networks = Lpips.load(NETWORKS), i3d.I3d.load(NETWORKS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train, heldout = render_footage(folder, LADDER[size].pictures)
        places = {
            "frames_dir": name,
            "run_dir": name,
            "manifest": "never read",
            "snapshot_root": "",
            "database_url": "",
        }
        # more steps than there is time for; rates are laid over the budget
        rates = {"steps": 1_000_000, "warmup": 1, "decay": 0.7, "batch_tokens": 1280, "lr": 2e-3}
        config = TrainConfig("codec", size=size, **RECIPE["codec"], **rates, **places)
        clips, held = FrameClips(folder, train), FrameClips(folder, heldout)
        seen = [held.read(clip_id)[0] for clip_id in held.clip_ids]
        learner = CodecLearner(config, clips, held)
        start_s = cpu_of(learner.initialise)
        figures = {"start": measured(learner.model, seen, *networks)}
        curve = trained(learner, clips, minutes * 60)
        with learner.average.swapped():
            figures["trained"] = measured(learner.model.eval(), seen, *networks)
        figures |= {other: measured(one, seen, *networks) for other, one in others(size, pretrained).items()}
    end = curve[-1]["heldout/psnr_db"]
    parts = [b["heldout/psnr_db"] - a["heldout/psnr_db"] for a, b in itertools.pairwise(curve)]
    return {
        "size": size,
        "clips": {"trained_on": len(train), "held_out": len(heldout)},
        "parameters": sum(p.numel() for p in learner.model.parameters()),
        "start_cpu_s": round(start_s, 2),
        "cpu_minutes": minutes,
        "held_out": figures,
        "curve": [{name: round(value, 3) for name, value in point.items()} for point in curve],
        "still_rising_by_db": round(parts[-1], 3),
        "accepted": {"nano": ACCEPTED_DB, "missed_by_db": round(max(0.0, ACCEPTED_DB - end), 2)},
    }
