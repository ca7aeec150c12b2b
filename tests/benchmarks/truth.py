"""What the base has learned of known truth: held-out rendered trials, judged from pixels alone.

    python -m tests.benchmarks.truth                judge the base that ships, and write the result
    python -m tests.benchmarks.truth --budget 0.1   train the same recipe in a tenth of the steps first, and judge that
    python -m tests.benchmarks.truth --ablate 0.1   train it with one choice changed at a time, and compare
    python -m tests.benchmarks.truth --look FOLDER  judge a folder's base on a few other trials, and write a picture only

Training is `training.make_base`'s, which is the graph's own with more steps and rendered clips alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training import base, make_base
from training.evaluate.adherence import trial_rows
from training.evaluate.heldout import psnr, reconstruct
from training.evaluate.physics import NAMES, look
from training.evaluate.rows import Row, interval
from training.model.codec import load_codec, to_bytes, to_unit
from training.model.conditioning import numbers
from training.model.patches import VideoCodec
from training.model.text import TextEncoder
from training.model.transformer import Transformer, load_transformer, to_tokens
from training.sampling.sampler import Pipeline, Request, Sampler, sample
from training.simulate.supply import FPS, HELDOUT, pictures
from training.simulate.trial import OTHER_REACH, REACH, Trial, random_trial

MINILM = Path(".vendor/minilm")
KINDS = ("glide", "fall", "occlude", "collide", "camera", "pair")
SAMPLES = 1200  # so that each kind's own question has 200 answers
# first seeds of what is looked at while choosing, and of what is judged
LOOKED, JUDGED = HELDOUT + 700_000, HELDOUT + 800_000
# what is asked of 90 CPU minutes of training, each over all trials that ask for it or over one kind's
ACCEPTED: dict[tuple[str, str], float] = {
    ("colour", "all"): 0.98,
    ("colour", "kind=pair"): 0.96,
    ("count", "all"): 0.97,
    ("shape", "all"): 0.88,
    ("direction", "all"): 0.98,
    ("side", "all"): 0.95,
    ("camera", "kind=camera"): 0.95,
    ("momentum", "all"): 0.75,
    ("permanence", "all"): 0.97,
}


class Judged:
    """A base's codec and transformer with the encoder of their captions."""

    def __init__(self, folder: Path) -> None:
        self.codec: VideoCodec = load_codec(folder)
        self.model: Transformer = load_transformer(folder)
        self.encoder = TextEncoder(MINILM)
        chosen = self.model.sampling
        self.size, self.frames = (chosen.width, chosen.height), chosen.frames
        self.sampler = Sampler(chosen.steps, chosen.guidance, noise_shift=chosen.noise_shift)
        self.seconds = (self.frames - 1) / FPS

    def trials(self, first: int, count: int, kinds: Sequence[str] = KINDS) -> list[Trial]:
        return [random_trial(first + i, (kinds[i % len(kinds)],), self.seconds) for i in range(count)]


def judge(judged: Judged, count: int, picture: Path, first: int) -> dict[str, Any]:
    """All rows on `count` held-out trials from seed `first` on, whether each accepted figure is reached, and a picture of
    30 of them."""
    trials = judged.trials(first, count)
    rendered = [pictures(trial, judged.size, judged.frames) for trial in trials]
    coded = [reconstruct(judged.codec, video) for video in rendered]
    seeds = list(range(first, first + count))
    captions = [trial.caption() for trial in trials]
    made = Pipeline(judged.codec, judged.model, judged.encoder)(captions, seeds)
    kinds = {"all": made, "reference=rendered": rendered, "reference=codec": coded}
    rows = [row for part, videos in kinds.items() for row in trial_rows(part, videos, trials, FPS)]
    for kind in sorted(set(KINDS)):
        pairs = [(video, trial) for video, trial in zip(made, trials, strict=True) if trial.kind == kind]
        rows += [row for row in trial_rows(f"kind={kind}", *zip(*pairs, strict=True), FPS) if row["n"]] if pairs else []
    contact_sheet(made[:30], rendered[:30], picture)
    figures = {"codec_psnr_db": float(np.mean([psnr(*pair) for pair in zip(rendered, coded, strict=True)]))}
    return figures | {"accepted": verdicts(rows), "rows": rows}


# choices of the recipe, each with what stands for it where it is left out
ABLATIONS: dict[str, dict[str, dict[str, Any]]] = {
    "the recipe": {},
    "AdamW for matrices too": {"transformer": {"matrix_lr": 0.0}},
    "128 channels, less noise": {
        "codec": {"codec_shape": {"channels": 128}},
        "transformer": {"transformer_shape": {"channels": 128}, "noise_shift": 1.3},
    },
    "less noise": {"transformer": {"noise_shift": 1.0}},
    "pictures given as often as captions alone": {"transformer": {"text_mode": 0.7}},
    "500 rendered clips": {"transformer": {"rendered_clips": 500}},
}


def ablations(budget: float, count: int) -> dict[str, dict[str, float | None]]:
    """Share right of each attribute, over `count` trials, for the recipe with one choice changed at a time."""
    answers = {}
    for name, changes in ABLATIONS.items():
        folder = Path(".rushes/truth/ablations") / name.replace(" ", "-")
        plan = {task: chosen | changes.get(task, {}) for task, chosen in make_base.budgeted("nano", budget).items()}
        if "codec_shape" in plan["codec"]:
            plan["transformer"]["codec_shape"] = plan["codec"]["codec_shape"]
        make_base.make("nano", folder / "base", folder / "work", MINILM, plan)
        rows = judge(Judged(folder / "base"), count, folder / "look.png", LOOKED)["rows"]
        answers[name] = {row["metric"]: row["value"] for row in rows if row["slice"] == "all"}
        print(name, answers[name], flush=True)
    return answers


def verdicts(rows: Sequence[Row]) -> dict[str, Any]:
    """Each accepted figure beside what was reached."""
    value = {(row["metric"], row["slice"]): row for row in rows}
    figures: dict[str, Any] = {}
    for (name, part), least in ACCEPTED.items():
        row, shown = value[f"trial_{name}", part], name if part == "all" else f"{name}, {part}"
        figures[shown] = {key: row[key] for key in ("value", "ci_low", "ci_high", "n")} | {"accepted": least}
        figures[shown]["reached"] = row["value"] is not None and row["value"] >= least
        figures[shown]["codec_alone"] = value[f"trial_{name}", "reference=codec"]["value"] if part == "all" else None
    return figures


def speeds(judged: Judged, count: int) -> dict[str, Any]:
    """Continuing what glides at speeds like those trained on and at others: relative error of the speed that follows.

    Two latent frames (five pictures) are given, the rest is made; a caption names no speed, only the pictures show it.
    """
    figures = {}
    for name, reaches in (("in_distribution", (REACH,)), ("out_of_distribution", OTHER_REACH)):
        first = HELDOUT + 10_000
        trials = [random_trial(seed, ("glide",), judged.seconds, reaches) for seed in range(first, first + count)]
        all_errors = [_speed_error(judged, trial, seed) for seed, trial in enumerate(trials)]
        errors = [error for error in all_errors if error is not None]
        low, high = interval(errors, name) if len(errors) > 1 else (None, None)
        mean = sum(errors) / len(errors) if errors else None
        counts = {"n": len(errors), "lost": count - len(errors)}
        figures[name] = {"speed_error": mean, "ci_low": low, "ci_high": high, **counts}
    return figures


def _speed_error(judged: Judged, trial: Trial, seed: int) -> float | None:
    """|speed made - speed of the trial| over the latter, from the last given picture to the end; None: no body left."""
    truth, stride = pictures(trial, judged.size, judged.frames), judged.codec.config.stride
    with torch.inference_mode():
        x_NP, grid = to_tokens(judged.codec.encode(to_unit(truth)[None])[0], judged.model.config.patch)
        given_N = torch.zeros(grid, dtype=torch.bool)
        given_N[:2] = True
        text_MT = torch.from_numpy(judged.encoder.tokens([trial.caption()])[0])
        request = Request(
            text_MT, grid, seed, stride / FPS, numbers({"fps": FPS}), given_N=given_N.flatten(), x_NP=x_NP
        )
        sampler = Sampler(judged.sampler.steps, 1.0, noise_shift=judged.sampler.noise_shift)
        made = to_bytes(judged.codec.decode(sample(judged.model, [request], sampler)[0][None])[0])
    place = [look(video).centre_TK2[:, NAMES.index(trial.colours[0])] for video in (made, truth)]
    way_made, way_true = (centre_T2[-1] - centre_T2[stride] for centre_T2 in place)
    error = float((way_made - way_true).norm() / way_true.norm())
    return error if np.isfinite(error) else None


def contact_sheet(
    made: Sequence[Tensor], rendered: Sequence[Tensor], path: Path, every: int = 2, scale: int = 1
) -> None:
    """Every second frame of each video in a row, the made ones left and the rendered ones beside them."""
    from PIL import Image

    rows = [
        torch.cat([*a[::every], torch.zeros_like(a[0, :, :4]), *b[::every]], 1)
        for a, b in zip(made, rendered, strict=True)
    ]
    half = -(-len(rows) // 2)
    while len(rows) < 2 * half:
        rows.append(torch.zeros_like(rows[0]))
    sheet = torch.cat(
        [torch.cat(rows[:half]), torch.zeros_like(rows[0][:, :8]).repeat(half, 1, 1), torch.cat(rows[half:])], 1
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = sheet.shape[:2]
    Image.fromarray(sheet.numpy()).resize((width * scale, height * scale), 0).save(path)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.truth", description=__doc__)
    parser.add_argument("--look", type=Path, help="folder of a base to judge on a few trials; writes look.png there")
    parser.add_argument("--budget", type=float, help="train so much of the recipe's steps first")
    parser.add_argument("--ablate", type=float, help="share of the recipe's steps to compare its choices at")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="held-out trials to judge (default %(default)s)")
    options = parser.parse_args(arguments)
    from tests.benchmarks.__main__ import RESULTS, write_result

    if options.look:
        for row in judge(Judged(options.look), options.samples, options.look / "look.png", LOOKED)["rows"]:
            print(f"{row['metric']:26} {row['slice']:20} {row['value']!s:22} n {row['n']}")
        return
    if options.ablate:
        answers = ablations(options.ablate, options.samples)
        write_result("ablations", {"budget": options.ablate, "samples": options.samples, "share_right": answers})
        return
    folder = base.folder("nano")
    if options.budget:
        folder = Path(".rushes/truth/base")
        make_base.make("nano", folder, Path(".rushes/truth/work"), MINILM, make_base.budgeted("nano", options.budget))
    assert folder is not None, "nano ships with a base"
    judged = Judged(folder)
    recipe = {"base": json.loads((folder / "result.json").read_text()), "sampler": vars(judged.sampler)}
    recipe |= {"transformer": vars(judged.model.config), "codec": vars(judged.codec.config), "size": judged.size}
    figures = judge(judged, options.samples, RESULTS / "truth.png", JUDGED)
    write_result("truth", {"budget": options.budget or 1.0, "recipe": recipe, **figures, "speeds": speeds(judged, 40)})


if __name__ == "__main__":
    main()
