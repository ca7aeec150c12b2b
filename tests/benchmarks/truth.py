"""What a small model learns of known truth on a CPU: a codec and a transformer trained on rendered trials, and judged on
200 held-out ones from pixels alone.

    python -m tests.benchmarks.truth            train, or go on from the last checkpoint, then sample, judge and write
    python -m tests.benchmarks.truth --look     judge the last checkpoint on a few trials, beside a run, writing a picture

Codec, transformer, objective, average, checkpoints and sampler are the product's; only the clips are rendered in memory.
The budget is CPU time and wall time, whichever is spent first, and outlives a stop: a killed run goes on from its last
checkpoint. The learning rate falls over the last part of the budget, so a smaller budget on a later call ends it sooner.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from safetensors.torch import load_file, save_file
from torch import Tensor

from training import checkpoint as checkpoints
from training.codec import Codec, load_codec, save_codec, to_bytes, to_unit
from training.conditioning import numbers
from training.config import CodecConfig, TrainConfig, TransformerConfig
from training.data import LatentClips, flow_steps
from training.evaluate.objects import NAMES, look
from training.evaluate.reconstruction import psnr, reconstruct
from training.evaluate.rows import Row, interval
from training.evaluate.trials import trial_rows
from training.module import TransformerLearner
from training.packing import Cursor
from training.prefetch import ahead
from training.sample import make
from training.sampling import Request, Sampler, sample
from training.simulate.supply import FPS, HELDOUT, TrialClips, pictures
from training.simulate.trial import OTHER_REACH, REACH, Trial, random_trial
from training.text import TextEncoder
from training.transformer import Transformer, to_tokens

FOLDER = Path(".rushes/truth")
MINILM = Path(".vendor/minilm")
SIZE, FRAMES = (32, 32), 13
SECONDS = (FRAMES - 1) / FPS
KINDS = ("glide", "glide", "glide", "fall", "fall", "occlude", "occlude", "collide", "pair", "camera")
CODEC = CodecConfig(channels=128, patch=8, stride=4, width=16, encoder_blocks=0, decoder_blocks=0, knee=0.3)
SHAPE = TransformerConfig(width=128, layers=6, heads=2, patch=1, channels=128, predicts="clip")
NOISE_SHIFT = 1.3
CLIPS = 16_000
BATCH = 16  # clips
LR, WARMUP, FALL = 3e-3, 100, 0.4
CPU_MINUTES, WALL_MINUTES = 120.0, 88.0
TRY, RETRY = 4, 120  # steps for which each number of threads is tried, and after how many again
SAVE_S = 180  # between checkpoints
SAMPLER = Sampler(steps=40, guidance=1.5, noise_shift=NOISE_SHIFT)
SAMPLES = 200
LOOKED, JUDGED = HELDOUT, HELDOUT + 200_000  # first seeds of what is looked at while choosing, and of what is judged
ACCEPTED = {"colour": 0.95, "direction": 0.9, "count": 0.9, "permanence": 0.8}
GRAVITY_FACTOR = 2.0  # accepted residual over the codec's own


class TruthLearner(TransformerLearner):
    """The product's learner with a rate that follows the budget instead of a number of steps."""

    spent = 0.0  # share of the budget

    def learning_rate(self, step: int) -> float:
        return LR * min(1.0, step / WARMUP) * max(0.02, min(1.0, (1 - self.spent) / FALL))


@dataclass
class Budget(Callback):
    """Spends CPU and wall time, saves now and then, and stops the run when either is gone."""

    cpu_minutes: float
    wall_minutes: float
    threads: int
    cpu_s: float = 0.0  # spent before this process began to train
    wall_s: float = 0.0
    batches: int = 0  # of this process

    def on_train_start(self, trainer: Trainer, learner: LightningModule) -> None:
        self.cpu_from, self.wall_from = time.process_time() - self.cpu_s, time.monotonic() - self.wall_s
        self.saved = time.monotonic()
        self.trials: list[tuple[float, int]] = []  # seconds of a few steps, by number of threads
        if found := checkpoints.checkpoints(FOLDER / "checkpoints"):
            checkpoints.load_optimizer(found[-1], trainer.optimizers[0])

    def on_train_batch_start(self, trainer: Trainer, learner: LightningModule, *_: Any) -> None:
        """Now and then, find the number of threads that makes steps fastest: on a busy machine a second one only waits."""
        phase = self.batches % RETRY
        if phase in (0, TRY, 2 * TRY):
            if phase:
                self.trials.append((time.monotonic() - self.since, torch.get_num_threads()))
            self.since = time.monotonic()
            torch.set_num_threads((1, self.threads, min(self.trials, default=(0.0, 1))[1])[phase // TRY])
            if phase == 2 * TRY:
                self.trials.clear()
        self.batches += 1

    def on_train_batch_end(self, trainer: Trainer, learner: LightningModule, *_: Any) -> None:
        assert isinstance(learner, TruthLearner)
        self.cpu_s, self.wall_s = time.process_time() - self.cpu_from, time.monotonic() - self.wall_from
        learner.spent = max(self.cpu_s / (60 * self.cpu_minutes), self.wall_s / (60 * self.wall_minutes))
        step, usual = learner.last.step, learner.usual_loss
        trainer.should_stop = learner.spent >= 1
        if step % 20 == 0:
            told = f"step {step}, loss {usual:.4f}, rate {learner.learning_rate(step):.1e}, {torch.get_num_threads()} threads"
            print(f"{told}, {self.cpu_s / 60:.1f} CPU-minutes, {self.wall_s / 60:.1f} minutes", flush=True)
        if trainer.should_stop or time.monotonic() - self.saved > SAVE_S:
            extra = {"cpu_s": self.cpu_s, "wall_s": self.wall_s, "loss": usual}
            checkpoints.save_checkpoint(FOLDER / "checkpoints", learner, trainer.optimizers[0], {}, extra)
            self.saved = time.monotonic()


def codec() -> Codec:
    """The linear codec of rendered trials, made once for each configuration."""
    if not (FOLDER / "codec.json").exists() or load_codec(FOLDER).config != CODEC:
        made = Codec(CODEC)
        made.initialise([to_unit(pictures(trial, SIZE, FRAMES)) for trial in trials(0, 2000)])
        save_codec(made, FOLDER)
    return load_codec(FOLDER)


def trials(first: int, count: int, reaches: Sequence[tuple[float, float]] = (REACH,)) -> list[Trial]:
    return [random_trial(seed, KINDS, SECONDS, reaches) for seed in range(first, first + count)]


def caption_tokens(captions: Sequence[str]) -> dict[str, Tensor]:
    """The encoder's tokens of each distinct caption, computed once and kept."""
    path = FOLDER / "captions.safetensors"
    known = load_file(path) if path.exists() else {}
    if missing := sorted(set(captions) - known.keys()):
        encoder = TextEncoder(MINILM)
        known |= {text: torch.from_numpy(tokens) for text, tokens in zip(missing, encoder.tokens(missing), strict=True)}
        save_file(known, path)
    return known


def train(cpu_minutes: float, wall_minutes: float, threads: int) -> dict[str, Any]:
    """Train, or go on training, until the budget is spent; the spent budget and the step."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    config = TrainConfig(
        task="transformer",
        run_dir=str(FOLDER),
        manifest="",
        snapshot_root="",
        database_url="",
        latents_dir="in memory",
        codec_dir=str(FOLDER),
        text_dir="in memory",
        steps=10**9,
        lr=LR,
        batch_tokens=BATCH * 64,
        ema_decay=0.998,
        numeric_dropout=0.0,
        noise_shift=NOISE_SHIFT,
        text_mode=0.85,
        first_mode=0.0,
        last_mode=0.0,
        ends_mode=0.0,
        prefix_mode=0.15,
        suffix_mode=0.0,
        between_mode=0.0,
        keyframes_mode=0.0,
    )
    learner, budget, cursor = TruthLearner(config, SHAPE, []), Budget(cpu_minutes, wall_minutes, threads), Cursor()
    step = 0
    if found := checkpoints.checkpoints(FOLDER / "checkpoints"):
        state = checkpoints.read_state(found[-1])
        checkpoints.load_weights(found[-1], learner, state)
        step, cursor = state["step"], Cursor(state["epoch"], state["pack"])
        budget.cpu_s, budget.wall_s = state["cpu_s"], state["wall_s"]
        learner.spent = max(budget.cpu_s / 60 / cpu_minutes, budget.wall_s / 60 / wall_minutes)
    if learner.spent < 1:
        started = time.process_time()
        recipe = hashlib.sha256(repr((CODEC, SIZE, FRAMES, KINDS)).encode()).hexdigest()
        cache = FOLDER / f"latents-{recipe[:12]}.safetensors"
        texts = caption_tokens([trial.caption() for trial in trials(0, CLIPS)])
        clips = TrialClips(codec(), texts, CLIPS, size=SIZE, frames=FRAMES, kinds=KINDS, cache=cache)
        print(f"{CLIPS} clips after {time.process_time() - started:.0f} CPU-seconds", flush=True)
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=1,
            callbacks=[budget],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=FOLDER,
        )
        with closing(ahead(flow_steps(config, _as_clips(clips), cursor, step + 1))) as steps:
            trainer.fit(learner, train_dataloaders=steps)
    state = checkpoints.read_state(checkpoints.checkpoints(FOLDER / "checkpoints")[-1])
    return {
        "steps": state["step"],
        "clips_seen": state["step"] * BATCH,
        "training_cpu_minutes": round(state["cpu_s"] / 60, 1),
        "training_minutes": round(state["wall_s"] / 60, 1),
        "training_loss": round(state["loss"], 4),
    }


def _as_clips(clips: Any) -> LatentClips:
    """`TrialClips` has what `flow_steps` asks of LatentClips, without its files."""
    found: LatentClips = clips
    return found


def model() -> Transformer:
    """The averaged weights of the last checkpoint."""
    found = Transformer(SHAPE)
    found.load_state_dict(load_file(checkpoints.checkpoints(FOLDER / "checkpoints")[-1] / "ema.safetensors"))
    return found.eval().requires_grad_(False)


def judge(count: int, picture: Path, first: int, sampler: Sampler = SAMPLER) -> dict[str, Any]:
    """All rows on `count` held-out trials from seed `first` on, whether each accepted figure is reached, and a picture of
    30 of them."""
    asked, coder, learned = trials(first, count), codec(), model()
    rendered = [pictures(trial, SIZE, FRAMES) for trial in asked]
    coded = [reconstruct(coder, video) for video in rendered]
    seeds = list(range(first, first + count))
    captions = [trial.caption() for trial in asked]
    made = make(coder, learned, TextEncoder(MINILM), captions, seeds, sampler, FRAMES, SIZE)
    kinds = {"all": made, "reference=rendered": rendered, "reference=codec": coded}
    rows = [row for part, videos in kinds.items() for row in trial_rows(part, videos, asked, FPS)]
    for kind in sorted(set(KINDS)):
        one = [(video, trial) for video, trial in zip(made, asked, strict=True) if trial.kind == kind]
        rows += [row for row in trial_rows(f"kind={kind}", *zip(*one, strict=True), FPS) if row["n"]] if one else []
    contact_sheet(made[:30], rendered[:30], picture)
    figures = {"codec_psnr_db": float(np.mean([psnr(*pair) for pair in zip(rendered, coded, strict=True)]))}
    return figures | {"accepted": verdicts(rows), "rows": rows}


def verdicts(rows: Sequence[Row]) -> dict[str, Any]:
    """Each accepted figure beside what was reached."""
    value = {(row["metric"], row["slice"]): row for row in rows}
    found: dict[str, Any] = {}
    for name, least in ACCEPTED.items():
        row = value[f"trial_{name}", "all"]
        found[name] = {key: row[key] for key in ("value", "ci_low", "ci_high", "n")} | {"accepted": least}
        found[name]["reached"] = row["value"] is not None and row["value"] >= least
    row, floor = (value["trial_gravity_residual", part] for part in ("all", "reference=codec"))
    ratio = row["value"] / floor["value"] if row["n"] and floor["n"] else None
    found["gravity"] = {"over_codec": ratio, "accepted": GRAVITY_FACTOR, "n": row["n"]}
    found["gravity"]["reached"] = ratio is not None and ratio <= GRAVITY_FACTOR
    return found


def speeds(count: int) -> dict[str, Any]:
    """Continuing what glides at speeds like those trained on and at others: relative error of the speed that follows.

    Two latent frames (five pictures) are given, the rest is made; a caption names no speed, only the pictures show it.
    """
    coder, learned, encoder = codec(), model(), TextEncoder(MINILM)
    found = {}
    for name, reaches in (("in_distribution", (REACH,)), ("out_of_distribution", OTHER_REACH)):
        asked = [
            random_trial(seed, ("glide",), SECONDS, reaches)
            for seed in range(HELDOUT + 10_000, HELDOUT + 10_000 + count)
        ]
        errors = [_speed_error(coder, learned, encoder, trial, seed) for seed, trial in enumerate(asked)]
        known = [error for error in errors if error is not None]
        low, high = interval(known, name) if len(known) > 1 else (None, None)
        mean = sum(known) / len(known) if known else None
        found[name] = {"speed_error": mean, "ci_low": low, "ci_high": high, "n": len(known), "lost": count - len(known)}
    return found


def _speed_error(coder: Codec, learned: Transformer, encoder: TextEncoder, trial: Trial, seed: int) -> float | None:
    """|speed made - speed of the trial| over the latter, from the last given picture to the end; None: no body left."""
    truth = pictures(trial, SIZE, FRAMES)
    with torch.inference_mode():
        z_Cthw = coder.encode(to_unit(truth)[None])[0]
        x_NP, grid = to_tokens(z_Cthw, SHAPE.patch)
        given_N = torch.zeros(grid, dtype=torch.bool)
        given_N[:2] = True
        text_MT = torch.from_numpy(encoder.tokens([trial.caption()])[0])
        numeric = numbers({"fps": FPS})
        asked = Request(text_MT, grid, seed, CODEC.stride / FPS, numeric, given_N=given_N.flatten(), x_NP=x_NP)
        made = to_bytes(coder.decode(sample(learned, [asked], Sampler(24, 1.0, noise_shift=NOISE_SHIFT))[0][None])[0])
    place = [look(video).centre_TK2[:, NAMES.index(trial.colours[0])] for video in (made, truth)]
    way_made, way_true = (centre_T2[-1] - centre_T2[4] for centre_T2 in place)
    error = float((way_made - way_true).norm() / way_true.norm())
    return error if np.isfinite(error) else None


def contact_sheet(
    made: Sequence[Tensor], rendered: Sequence[Tensor], path: Path, every: int = 2, scale: int = 2
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
    parser.add_argument(
        "--look", action="store_true", help="judge the last checkpoint on a few trials, write no result"
    )
    parser.add_argument(
        "--guidance", type=float, default=SAMPLER.guidance, help="to look with; the result has the constant"
    )
    parser.add_argument("--samples", type=int, default=None, help="held-out trials to judge")
    parser.add_argument("--cpu-minutes", type=float, default=CPU_MINUTES)
    parser.add_argument("--wall-minutes", type=float, default=WALL_MINUTES)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)  # small matrices until the training begins: a second thread would only wait
    from tests.benchmarks.__main__ import RESULTS, write_result

    if given.look:
        found = judge(given.samples or 40, FOLDER / "look.png", LOOKED, replace(SAMPLER, guidance=given.guidance))
        for row in found["rows"]:
            print(f"{row['metric']:26} {row['slice']:20} {row['value']!s:22} n {row['n']}")
        return
    spent = train(given.cpu_minutes, given.wall_minutes, given.threads)
    recipe = {"size": SIZE, "frames": FRAMES, "parameters": sum(p.numel() for p in model().parameters())}
    recipe |= {"codec": vars(CODEC), "transformer": vars(SHAPE), "sampler": vars(SAMPLER), "threads": given.threads}
    found = judge(given.samples or SAMPLES, RESULTS / "truth.png", JUDGED)
    write_result("truth", {**spent, "recipe": recipe, **found, "speeds": speeds(40)})


if __name__ == "__main__":
    main()
