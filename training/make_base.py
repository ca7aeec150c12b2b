"""`python -m training.make_base`: train a size's base on rendered scenes alone.

The same code path as the graph's training (`fit`) and the same recipe (`config.RECIPE`) at a larger budget.

    python -m training.make_base                       train nano, about an hour on one core; killed, the same command resumes
    python -m training.make_base --budget 0.1 --out x  the same recipe in a tenth of the steps, into another folder

What belongs here: the budgets, and making a base. Finding one is `base`'s.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from training import device
from training.base import BASES, TASKS
from training.config import RECIPE, TrainConfig
from training.consent.canonical import file_sha256
from training.evaluate.adherence import heldout_trials, trial_rows
from training.fit import DONE, fit
from training.model import exposure
from training.model.config import ConfigError, build
from training.process import atomically, write_json
from training.sampling.sampler import Pipeline
from training.simulate.supply import FPS
from training.trainer.metrics import run_logger

JUDGED = 48  # held-out trials of each kind for the card
# The budget of each size that has a base; the rest of the recipe is shared with the nights (config.RECIPE).
BUDGETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "nano": {
        # the encoder stays the closed-form start; what is trained is the decoder
        "codec": {"steps": 1500, "batch_tokens": 640, "rendered_clips": 500, "train_encoder": False},
        "transformer": {"steps": 12_000, "batch_tokens": 1280, "rendered_clips": 12_000, "lr": 3e-3, "warmup": 100}
        | {"ema_decay": 0.998, "eval_every": 500, "checkpoint_every": 500},
    }
}


def budgeted(size: str, budget: float = 1.0) -> dict[str, dict[str, Any]]:
    """What is chosen for each task, with this share of the steps."""
    choices = {task: {**RECIPE[task], **BUDGETS[size][task]} for task in TASKS}
    for chosen in choices.values():
        chosen["steps"] = max(1, round(chosen["steps"] * budget))
    return choices


def make(
    size: str, out: Path, work: Path, text_encoder: Path, choices_of: Mapping[str, Mapping[str, Any]], seed: int = 0
) -> int:
    """Train codec and transformer in `work`, resuming what is there, and put the base into `out`; an exit code of `fit`."""
    common: dict[str, Any] = dict.fromkeys(("manifest", "snapshot_root", "database_url"), "")
    common |= {"rendered_share": 1.0, "size": size, "seed": seed}
    results: dict[str, Any] = {}
    for task in TASKS:
        choices, run_dir = choices_of[task], work / task
        more = {"codec_dir": str(out), "text_encoder": str(text_encoder)} if task == "transformer" else {}
        config = build(TrainConfig, {**common, "task": task, "run_dir": str(run_dir), **choices, **more})
        with run_logger(run_dir) as logger:
            if (code := fit(config, logger)) != DONE:
                return code
        publish(run_dir, task, out)
        result = json.loads((run_dir / "result.json").read_text())
        results[task] = {"choices": dict(choices)} | {
            name: result[name] for name in ("start", "end", "steps", "parameters")
        }
    results["trials"] = {row["metric"]: [row["value"], row["n"]] for row in _judged(out, text_encoder) if row["n"]}
    (out / "card.md").write_text(card(size, out, results))
    write_json(out / "result.json", {"stopped": None, "size": size, **exposure.fields({}), **results})
    return DONE


def _judged(folder: Path, text_encoder: Path) -> list[dict[str, Any]]:
    """The rows of the held-out trials that every night asks its model, too."""
    pipeline = Pipeline.open(folder, text_encoder, device.chosen())
    trials = list(heldout_trials(JUDGED, (pipeline.model.sampling.frames - 1) / FPS).values())
    videos = pipeline([trial.caption() for trial in trials], range(len(trials)))
    return trial_rows("all", videos, trials, FPS)


def card(size: str, folder: Path, results: Mapping[str, Any]) -> str:
    """What the base is, saw, reaches and is for, in Markdown."""
    digests = "\n".join(
        f"- `{task}.safetensors`: {results[task]['parameters']:,} parameters, {results[task]['steps']:,} steps, SHA-256 "
        f"`{file_sha256(folder / f'{task}.safetensors')}`"
        for task in TASKS
    )
    trials = results["trials"].items()
    rows = "\n".join(f"| {name.removeprefix('trial_')} | {value:.2f} | {n} |" for name, (value, n) in trials)
    return f"""# Base of size {size}

Where the training of this size starts when no better model of the home may be used. Trained by
`python -m training.make_base` on scenes rendered by `training/simulate` alone: it saw nobody's footage.
Its captions name coloured shapes, directions, sides, camera moves and times of day, and no other words.
Weights are in half precision, under the project's licence.

{digests}

On {JUDGED} pairs and {JUDGED} moving scenes with seeds that were never trained on, judged from pixels:

| asked for | share right | n |
|---|---|---|
{rows}
"""


def publish(run_dir: Path, task: str, out: Path) -> None:
    """The run's weights in half precision, which is enough to start from, and their description."""
    halves = {name: tensor.half().contiguous() for name, tensor in load_file(run_dir / f"{task}.safetensors").items()}
    with atomically(out / f"{task}.safetensors") as partial:
        save_file(halves, partial, exposure.header({}))
        partial.chmod(0o644)
    shutil.copyfile(run_dir / f"{task}.json", out / f"{task}.json")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.make_base", description="Train a base on rendered scenes."
    )
    parser.add_argument("--size", default="nano", choices=sorted(BUDGETS))
    parser.add_argument("--out", type=Path, help="folder of the finished base (default: the one in this package)")
    parser.add_argument(
        "--work", type=Path, default=Path(".rushes/base"), help="folder of checkpoints (default %(default)s)"
    )
    parser.add_argument("--text-encoder", type=Path, default=Path(".vendor/minilm"))
    parser.add_argument("--budget", type=float, default=1.0, help="share of the recipe's steps (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    out = args.out or BASES / args.size
    try:
        return make(
            args.size, out, args.work / args.size, args.text_encoder, budgeted(args.size, args.budget), args.seed
        )
    except ConfigError as error:
        print(f"configuration: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
