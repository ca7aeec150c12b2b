"""Measuring a model: the prompts, and the configurations and results of the processes that generate and measure.

Plain data up to the launch and back. `training.sample` generates and `training.evaluate` measures, each in a process of its
own that loads torch and nothing of the platform.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.coverage.classes import UNKNOWN
from assets.dataset import renditions
from assets.dataset.sealed import Sealed, local_view
from assets.home import Home
from assets.model import latents, launch, published
from assets.model.config import shaping
from assets.model.launch import Launch
from assets.model.published import Scorecard, heldout_digest
from assets.store import write_atomically
from training import base
from training.data.video import read_frames
from training.evaluate.rows import base_digest, latent_space
from training.simulate import random_scene

HELDOUT_PROMPTS = 4
SCENE_SEEDS = (11, 23, 47, 81)  # simulated scenes whose facts are known; never changed, so that nights compare
MEASURED_TRIALS = 48  # for each of the gate's questions: rendered trials, generated to be measured and not kept
MEASURED_SCENES = 24  # further simulated scenes, generated to be measured and not kept
# how much is looked at beside that, at most; at nano less than three CPU minutes. RUSHES_EVALUATION changes it.
LOOKED_AT: Mapping[str, int] = {"clips": 16, "camera_trials": 12, "twins": 4}
SLICED = (
    "subject",
    "place",
    "time_of_day",
    "length",
)  # of table clip_classes; aspect and motion are those the model sees
BASE_SCORES = "base_scores.json"


@dataclass(frozen=True)
class Prompt:
    """One video to be generated."""

    text: str
    seed: int

    @property
    def sample_id(self) -> str:
        return hashlib.sha256(f"{self.text}\0{self.seed}".encode()).hexdigest()[:16]


def sample_key(model_key: str, prompt: Prompt) -> str:
    """Where a model's video of a prompt lies in the store."""
    return f"samples/{model_key}/{prompt.sample_id}.mp4"


def prompts(sealed: Sealed) -> list[Prompt]:
    """Captions of held-out clips, then fixed simulated scenes. The same snapshot gives the same list."""
    held = sorted({member["caption"] for member in sealed.members if member["split"] == "heldout"})
    # spread over the sorted captions, which often begin alike
    chosen = held[:: max(1, len(held) // HELDOUT_PROMPTS)][:HELDOUT_PROMPTS]
    scenes = [random_scene(seed).caption() for seed in SCENE_SEEDS]
    return [Prompt(text, seed) for seed, text in enumerate(dict.fromkeys(chosen + scenes))]


def prepare_samples(home: Home, model_key: str, prompts: Sequence[Prompt]) -> Launch:
    """The launch that generates these videos into the run folder's `videos`."""
    run_dir = home.scratch(f"samples/{model_key}")
    config = {
        "model_dir": str(published.local_folder(home, model_key)),
        "text_encoder": str(latents.text_encoder(home, published.local_folder(home, model_key))),
        "prompts": [prompt.text for prompt in prompts],
        "seeds": [prompt.seed for prompt in prompts],
        "out": str(run_dir / "videos"),
    }
    return launch.prepare(home, "training.sample", run_dir, config)


def keep_samples(home: Home, model_key: str, prompts: Iterable[Prompt], made: Path) -> list[dict[str, Any]]:
    """Put the generated videos into the store and describe them as rows of the table `samples`.

    `made` is the folder of `prepare_samples`. Raises FileNotFoundError if a video is missing.
    """
    listed = json.loads((made / "samples.json").read_text())
    rows = []
    for prompt, entry in zip(prompts, listed, strict=True):
        path = Path(entry["path"])
        frames, fps = read_frames(path)
        key = sample_key(model_key, prompt)
        home.store.put(key, path)
        rows.append(
            {
                "sample_id": prompt.sample_id,
                "model_key": model_key,
                "prompt": prompt.text,
                "seed": prompt.seed,
                "media_key": key,
                "frames": len(frames),
                "fps": fps,
                "width": frames.shape[2],
                "height": frames.shape[1],
            }
        )
    return rows


def prepare_scorecard(home: Home, model_key: str, sealed: Sealed, samples: Sequence[dict[str, Any]]) -> Launch:
    """The launch that measures a model on a snapshot's held-out clips, and its samples against the training clips."""
    run_dir = home.scratch(f"scorecard/{model_key}-{heldout_digest(sealed)[:16]}")
    folder = published.local_folder(home, model_key)
    base_dir, pretrained = base_folder(home, model_key), pretrained_base(home, model_key)
    if base_dir is not None:
        stored, local = _base_scores(home, model_key, base_dir, folder), run_dir / BASE_SCORES
        local.unlink(missing_ok=True)
        if home.store.exists(stored):
            write_atomically(local, home.store.get(stored))
    config = {
        "model_dir": str(folder),
        "manifest": str(sealed.path),
        "snapshot_root": sealed.root,
        "frames_dir": str(local_view(home, renditions.keys(home, sealed.clip_ids))),
        "latents_dir": str(local_view(home, latents.keys(home, folder, sealed.clip_ids))),
        "text_dir": str(latents.text_folder(home, folder)),
        "text_encoder": str(latents.text_encoder(home, folder)),
        "numbers": str(launch.write_numbers(home, sealed, run_dir)),
        "samples": [{"path": str(home.store.fetch(row["media_key"])), "prompt": row["prompt"]} for row in samples],
        # a pretrained base never learned to draw our scenes: asked for them, it would be judged by what it is not for
        "scenes": 0 if pretrained else MEASURED_SCENES,
        "trials": 0 if pretrained else MEASURED_TRIALS,
        "networks": str(home.networks),
        "classes": str(write_classes(home, sealed, run_dir)),
        **(looked_at(home) if samples else {}),  # a champion that is only compared was looked at before
        "base_dir": str(base_dir or ""),
        "base_scores": str(run_dir / BASE_SCORES) if base_dir else "",
        "out": str(run_dir / "metrics.json"),
    }
    return launch.prepare(home, "training.evaluate", run_dir, config)


def looked_at(home: Home) -> dict[str, int]:
    """How much is looked at beside losses, scenes and trials: the setting over LOOKED_AT."""
    return {**LOOKED_AT, **home.evaluation}


def write_classes(home: Home, sealed: Sealed, run_dir: Path) -> Path:
    """`classes.json` in the run's folder: which classes the held-out clips are of, where that is known."""
    held = {member["clip_id"] for member in sealed.members if member["split"] == "heldout"}
    rows = home.lake.read("clip_classes", columns=["clip_id", *SLICED]).to_pylist()
    classes = {
        row["clip_id"]: {name: row[name] for name in SLICED if row[name] not in (None, UNKNOWN)}
        for row in rows
        if row["clip_id"] in held
    }
    path = run_dir / "classes.json"
    write_atomically(path, json.dumps(classes, indent=1, sort_keys=True).encode())
    return path


def rescoring(home: Home, model_key: str, sealed: Sealed) -> Iterator[Launch]:
    """The launches, in order, that measure an earlier model on another snapshot's held-out clips.

    Its own autoencoder encodes the clips first, if it has not yet. The last launch's folder holds the scorecard.
    """
    folder = published.local_folder(home, model_key)
    work = home.scratch(f"encoding/{latents.prefix(home, folder).rpartition('/')[2]}")
    for config in latents.encodings(home, sealed, folder, work / "latents"):
        yield launch.prepare(home, "training.encode", work, config)
    yield prepare_scorecard(home, model_key, sealed, ())


def read_scorecard(home: Home, model_key: str, sealed: Sealed, run_dir: Path) -> Scorecard:
    """What the process measured: rows of the table `scorecard` and the values behind them.

    The base model's answers on the trials, if it had to measure them, go into the store for the next night.
    """
    measured = json.loads((run_dir / "metrics.json").read_text())
    base_dir, local = base_folder(home, model_key), run_dir / BASE_SCORES
    if base_dir is not None and local.is_file():
        stored = _base_scores(home, model_key, base_dir, published.local_folder(home, model_key))
        if not home.store.exists(stored):
            home.store.put(stored, local)
    rows = [{"model_key": model_key, **row} for row in measured["rows"]]
    return Scorecard(model_key, heldout_digest(sealed), rows, measured["values"])


def base_key(home: Home, model_key: str) -> str | None:
    """The key of the base that a model is held against: the pretrained one that it was tuned from, else that of its size;
    None if the size has none, or is unknown."""
    if sha256 := pretrained_base(home, model_key).get("sha256"):
        return f"pretrained-{sha256[:12]}"
    size = _size(home, model_key)
    return base.key(size) if size else None


def pretrained_base(home: Home, model_key: str) -> dict[str, str]:
    """What is said of the pretrained base that a model was tuned from; empty where there is none."""
    return published.pretrained_base(published.pair(home, model_key) or {})


def base_folder(home: Home, model_key: str) -> Path | None:
    """The folder of the base model of a model's size; None as for `base_key`."""
    size = _size(home, model_key)
    return base.folder(size) if size else None


def _size(home: Home, model_key: str) -> str:
    record = published.pair(home, model_key) or {}
    choices = record.get("transformer", {}).get("choices")
    return "" if choices is None or choices.get("base_sha256") else str(shaping(choices)["size"])


def _base_scores(home: Home, model_key: str, base_dir: Path, folder: Path) -> str:
    """The key under which the base's answers on the trials are kept for all models of the size."""
    trials = base_digest(base_dir, folder, MEASURED_TRIALS, 0)
    return f"models/{base_key(home, model_key)}/trials-{trials[:16]}.json"


def encoding(home: Home, model_key: str) -> str | None:
    """Digest of the latent space that a model's codec encodes into; None if its weights are gone or unreadable."""
    from safetensors import SafetensorError

    try:
        return latent_space(published.local_folder(home, model_key, ("codec",)))
    except (OSError, ValueError, SafetensorError):
        return None
