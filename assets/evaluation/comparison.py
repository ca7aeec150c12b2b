"""Two versions side by side on one page: what they make of the same prompts and seeds, their numbers, and what the gate said.

The prompts are those of the candidate's snapshot. Beside both samples stand the picture that the prompt describes, a rendered
scene or a held-out clip, and what the candidate's codec alone makes of it. The page is one file that asks for nothing else;
every video in it that a model made carries both marks. Held-out clips are shown on this machine only, never in MLflow, where a
withdrawal would not reach them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from assets.evaluation import decisions, history, measuring
from assets.evaluation.decisions import Verdict, paired
from assets.evaluation.measuring import Prompt
from assets.evaluation.report import ARROWS, HELD_OUT, NUMBERS, shown_value, what_it_says
from assets.home import Home
from assets.marks.marking import mark_video
from assets.model import published
from assets.model.launch import Launch, alone
from assets.model.published import CurrentModel, Scorecard
from assets.pages.plots import data_uri
from assets.pages.render import render
from assets.registry import Registry, Version
from training.data.video import read_frames, write_mp4

PAGE = "comparison.html"
FOLDER = "comparisons"  # below the home's scratch folder; a withdrawal empties it
LARGEST_SIDE = 320  # pixels of a video on the page
MOST_BYTES = 12_000_000  # of videos on a page

Run = Callable[[Launch], None]  # runs a training process to its end; raises if it fails


@dataclass(frozen=True)
class Side:
    """One version: the model, and its scorecard on the clips that both were measured on, else its own."""

    version: Version
    model: CurrentModel
    card: Scorecard | None = None

    @property
    def title(self) -> str:
        return f"version {self.version.number}"

    def facts(self) -> dict[str, Any]:
        facts = {"title": self.title, "number": self.version.number, "aliases": self.version.aliases}
        return facts | {
            "taint": self.version.taint,
            "model_key": self.model.model_key,
            "root": self.model.sealed.root,
        }


@dataclass(frozen=True)
class Comparison:
    """`candidate` beside `reference`, which is None where there is nothing to compare with yet."""

    home: Home
    candidate: Side
    reference: Side | None = None

    @classmethod
    def of(cls, home: Home, candidate: Version, reference: Version | None) -> Comparison:
        """Raises NoModel for a version whose published record is gone."""
        sides = [
            Side(version, published.model_of(home, version.model_key)) for version in (candidate, reference) if version
        ]
        cards = _cards(home, [side.model.model_key for side in sides])
        return cls(home, *(replace(side, card=card) for side, card in zip(sides, cards, strict=True)))

    @property
    def sides(self) -> list[Side]:
        """In the order of the columns: the reference first."""
        return [side for side in (self.reference, self.candidate) if side]

    @cached_property
    def prompts(self) -> list[Prompt]:
        """Those of the candidate's snapshot that it has a sample of."""
        key, prompts = self.candidate.model.model_key, measuring.prompts(self.candidate.model.sealed)
        return [prompt for prompt in prompts if self.home.store.exists(measuring.sample_key(key, prompt))]

    @property
    def verdict(self) -> Verdict | None:
        """What the gate said last of these two, whichever was the candidate; of a lone candidate, what it said last."""
        keys = {side.model.model_key for side in self.sides}
        about = [verdict for key in keys for verdict in decisions.verdicts(self.home, key)]
        both = [v for v in about if len(keys) == 1 or {v.case.model_key, v.case.rival} == keys]
        return max(both, key=lambda verdict: verdict.at, default=None)

    def fill(self, run: Run) -> int:
        """Generate what the reference has no sample of, with `run`; returns how many. A tainted version generates nothing."""
        if self.reference is None or self.reference.version.taint:
            return 0
        key = self.reference.model.model_key
        missing = [p for p in self.prompts if not self.home.store.exists(measuring.sample_key(key, p))]
        if missing:
            with alone(self.home):
                started = measuring.prepare_samples(self.home, key, missing)
                run(started)
                measuring.keep_samples(self.home, key, missing, started.run_dir / "videos")
        return len(missing)

    def numbers(self) -> list[dict[str, Any]]:
        """A row a metric that any side has: each value with its interval, and the difference item by item."""
        rows = []
        for metric, words in NUMBERS.items():
            scores = [side.card.row(metric) if side.card else None for side in self.sides]
            if any(scores):
                better = next(score["better"] for score in scores if score)
                values = [shown_value(score) if score else "not measured" for score in scores]
                row = {"what": words + ARROWS[better], "values": values, **self._difference(metric, better)}
                rows.append(row | {"n": max(score["n"] for score in scores if score)})
        return rows

    def _difference(self, metric: str, better: str) -> dict[str, str]:
        cards = [side.card.values.get(metric, {}) if side.card else {} for side in self.sides]
        pair = paired(cards[-1], cards[0]) if len(cards) == 2 else None
        if pair is None:
            return {"difference": "", "verdict": ""}
        low, high = pair.interval
        sign = 0 if low <= 0 <= high else 1 if (low > 0) == (better == "higher") else -1
        verdict = {0: "within noise", 1: "better", -1: "worse"}[sign if better != "none" else 0]
        return {"difference": f"{pair.difference:+.3g} ({low:+.3g} to {high:+.3g})", "verdict": verdict}

    def page(self, people: bool) -> str:
        """The page. `people`: whether held-out clips are shown, which must not leave this machine."""
        videos, size = [], 0
        for prompt in self.prompts:
            films = self._films(prompt, people)
            size += sum(len(film["uri"]) for film in films)
            if size > MOST_BYTES:
                break
            videos.append({"prompt": prompt.text, "seed": prompt.seed, "films": films})
        verdict = self.verdict
        told = "The gate did not compare these versions." if verdict is None else _decision(verdict)
        alike = len({side.card.heldout for side in self.sides if side.card}) == 1
        numbers = {side.version.number for side in self.sides}
        return render(
            PAGE,
            title=" and ".join(side.title for side in self.sides),
            sides=[side.facts() for side in self.sides],
            videos=videos,
            left_out=len(self.prompts) - len(videos),
            numbers=self.numbers(),
            measured_on="Measured on the same held-out clips." if alike else "Measured on different held-out clips.",
            decision=told,
            reasons=decisions.as_rows(verdict.decision.reasons) if verdict else [],
            events=[event for event in history.events(self.home) if event.version in numbers],
        )

    def _films(self, prompt: Prompt, people: bool) -> list[dict[str, str]]:
        """The picture that the prompt describes, the ceiling, and each side's sample: a data URI, or why there is none."""
        model, store = self.candidate.model, self.home.store
        frames, fps = read_frames(store.fetch(measuring.sample_key(model.model_key, prompt)))
        truth, truth_is = what_it_says(self.home, model, prompt.text, frames.shape, fps)
        films = []
        if truth is not None and (people or truth_is != HELD_OUT):
            films.append({"title": truth_is, "uri": self._uri(truth, fps)})
            films.append(
                {"title": "ceiling: the codec alone", "uri": self._uri(self._through_codec(truth), fps, model)}
            )
        elif truth is not None:
            why = "A contributor's clip: on the page of the asset samples in Dagster, and with `rushes compare`."
            films.append({"title": truth_is, "uri": "", "missing": why})
        for side in self.sides:
            key = measuring.sample_key(side.model.model_key, prompt)
            made = read_frames(store.fetch(key)) if store.exists(key) else None
            uri = self._uri(*made, side.model) if made else ""
            films.append({"title": side.title, "uri": uri, "missing": "No sample of this prompt and seed."})
        return films

    @cached_property
    def _codec(self) -> Any:
        from training.model.codec import load_codec

        return load_codec(published.local_folder(self.home, self.candidate.model.model_key, ("codec",)))

    def _through_codec(self, frames: np.ndarray) -> np.ndarray:
        import torch

        from training.model.codec import to_bytes, to_unit

        with torch.no_grad():
            video = to_unit(torch.from_numpy(frames))
            return to_bytes(self._codec.decode(self._codec.encode(video[None]))[0]).numpy()

    def _uri(self, frames: np.ndarray, fps: float, maker: CurrentModel | None = None) -> str:
        """An mp4 as a data URI, small enough for a page; marked, if a model made it."""
        with tempfile.TemporaryDirectory() as scratch:
            path = write_mp4(Path(scratch) / "plain.mp4", frames, fps)
            if max(frames.shape[1:3]) > LARGEST_SIDE:
                path = write_mp4(Path(scratch) / "small.mp4", read_frames(path, max_side=LARGEST_SIDE)[0], fps)
            if maker is not None:
                mark_video(path, Path(scratch) / "marked.mp4", maker.claims, self.home.signing)
                path = Path(scratch) / "marked.mp4"
            return data_uri(path.read_bytes(), "video/mp4")


def _decision(verdict: Verdict) -> str:
    decision = verdict.decision
    against = f" against version {decision.against}" if decision.against else ""
    became = "may be champion" if decision.promote else "was refused"
    return f"{verdict.at}: version {decision.version} {became}{against}: {decision.summary}."


def _cards(home: Home, model_keys: Sequence[str]) -> list[Scorecard | None]:
    """Each model's scorecard on the held-out clips that all were measured on, else each one's own."""
    cards = [{card.heldout: card for card in published.stored_scorecards(home, key)} for key in model_keys]
    own = [published.stored_scorecard(home, key) for key in model_keys]
    shared = set.intersection(*(set(by_heldout) for by_heldout in cards))
    first = own[0].heldout if own[0] else ""
    if heldout := first if first in shared else min(shared, default=""):
        return [by_heldout[heldout] for by_heldout in cards]
    return own


def write_page(comparison: Comparison, path: Path, people: bool) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(comparison.page(people), encoding="utf-8")
    return path


def log_page(registry: Registry, comparison: Comparison) -> None:
    """Put the page into the candidate's run in MLflow."""
    with tempfile.TemporaryDirectory() as scratch:
        path = write_page(comparison, Path(scratch) / PAGE, people=False)
        registry.log_artifact(comparison.candidate.version.run_id, path)


def find_version(registry: Registry, name: str) -> Version:
    """The version with this number, alias or beginning of a model key. Raises LookupError."""
    versions = registry.versions()
    for version in versions:
        if name == version.number or name in version.aliases:
            return version
    matches = [version for version in versions if version.model_key.startswith(name)]
    if len(matches) != 1:
        listed = "; ".join(", ".join((v.number, *v.aliases, v.model_key)) for v in versions) or "none"
        raise LookupError(f"{name!r} names {len(matches) or 'no'} versions; there are: {listed}")
    return matches[0]
