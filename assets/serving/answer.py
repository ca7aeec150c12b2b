"""The one door through which generated video leaves: prompt policy, generation, both marks.

`rushes generate` and the registered model's `predict` both come here. Unmarked frames exist only in a temporary folder.
The policy is a list of words with reasons, thin by intent: it stops the plain cases. It is not a classifier, and never the
only guard: every video that leaves is marked, whatever the prompt.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assets.marks.marking import mark_video
from assets.serving.serve import Serving
from assets.store import write_atomically

LONGEST = 500  # characters

_SEXUAL = r"(?:porn\w*|nude|naked|nudity|sex|sexual\w*|erotic\w*|hentai|nsfw)"
_MINOR = r"(?:child(?:ren)?|kids?|minors?|toddlers?|bab(?:y|ies)|schoolgirls?|schoolboys?|teen\w*|infants?|underage)"
RULES: dict[str, re.Pattern[str]] = {
    "policy.minor_sexual": re.compile(rf"(?=.*\b{_SEXUAL}\b)(?=.*\b{_MINOR}\b)", re.S),
    "policy.sexual": re.compile(rf"\b{_SEXUAL}\b"),
    "policy.gore": re.compile(r"\b(?:gore|gory|beheading|decapitat\w*|dismember\w*|torture\w*|massacre\w*)\b"),
    "policy.likeness": re.compile(r"\b(?:deepfakes?|face ?swap\w*|in the likeness of|looks? exactly like)\b"),
}


class PromptRefused(ValueError):
    """A prompt that is not answered, with every reason."""


@dataclass(frozen=True)
class Screened:
    """`text` is the prompt as the model gets it; `refused` has every reason against it, none if it may pass."""

    text: str
    refused: tuple[str, ...]


def screen(prompt: str) -> Screened:
    """Normalise a prompt (NFKC, one line, no invisible characters) and judge it."""
    text = unicodedata.normalize("NFKC", prompt)
    text = "".join(c if unicodedata.category(c)[0] != "C" else " " if c in "\n\r\t" else "" for c in text)
    text = " ".join(text.split())
    reasons = []
    if not text:
        reasons.append("prompt.empty")
    if len(text) > LONGEST:
        reasons.append("prompt.too_long")
    plain = _without_accents(text.casefold())
    reasons += [reason for reason, pattern in RULES.items() if pattern.search(plain)]
    return Screened(text, tuple(reasons))


def _without_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


@dataclass(frozen=True)
class GenerationRequest:
    """One video to generate.

    `options` are further fields of `training.config.GenerateConfig` (steps, guidance, frames, size, references …); the
    model's own settings hold for the rest.
    """

    prompt: str
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """One request's outcome: a marked file, or the reasons why there is none."""

    prompt: str
    seed: int
    path: Path | None
    refused: tuple[str, ...] = ()


def answer(
    model: Path,
    requests: Sequence[GenerationRequest],
    folder: Path,
    may_answer: Callable[[], None] | None = None,
    serving: Serving | None = None,
) -> list[Answer]:
    """Generate a marked mp4 in `folder` for every prompt that the policy accepts, in order.

    `model` is the folder of a packaged model (weights and serving file). `may_answer` raises if the model must not answer;
    it is called before anything is generated and again before anything leaves, because generating takes time. `serving`
    says where the text encoder and the keys are; by default the environment does. Raises MarkError if a file cannot be
    marked. After an error `folder` is unchanged.
    """
    serving = serving or Serving.read(model)
    serving.require_folders()
    may_answer = may_answer or serving.require_untainted
    may_answer()
    verdicts = [screen(request.prompt) for request in requests]
    paths: dict[int, Path] = {}
    with tempfile.TemporaryDirectory(prefix="unmarked-") as scratch:
        marked = Path(scratch) / "marked"
        marked.mkdir()
        accepted = [index for index, verdict in enumerate(verdicts) if not verdict.refused]
        for batch in _same_options(accepted, requests):
            prompts = [verdicts[index].text for index in batch]
            videos = _generate(
                model, serving, prompts, [requests[i] for i in batch], Path(scratch) / f"batch-{batch[0]}"
            )
            for index, prompt, video in zip(batch, prompts, videos, strict=True):
                paths[index] = folder / _file_name(serving, prompt, requests[index])
                mark_video(video, marked / paths[index].name, serving.claims, Path(serving.keys))
        may_answer()
        for path in paths.values():
            write_atomically(path, marked / path.name)
    return [
        Answer(verdict.text, request.seed, paths.get(index), verdict.refused)
        for index, (request, verdict) in enumerate(zip(requests, verdicts, strict=True))
    ]


def _same_options(indices: Sequence[int], requests: Sequence[GenerationRequest]) -> list[list[int]]:
    """The requests' indices, grouped by their options: a group is generated as one batch."""
    batches: dict[str, list[int]] = {}
    for index in indices:
        batches.setdefault(json.dumps(requests[index].options, sort_keys=True), []).append(index)
    return list(batches.values())


def _generate(
    model: Path, serving: Serving, prompts: Sequence[str], batch: Sequence[GenerationRequest], out: Path
) -> list[Path]:
    from training.sample import generate

    out.mkdir()
    seeds = [request.seed for request in batch]
    rows = generate(model, Path(serving.base or serving.text_encoder), prompts, out, seeds=seeds, **batch[0].options)
    return [Path(row["path"]) for row in rows]


def _file_name(serving: Serving, prompt: str, request: GenerationRequest) -> str:
    identity = [str(serving.claims.get("model_id")), prompt, str(request.seed)]
    identity += [json.dumps(request.options, sort_keys=True)] if request.options else []
    return f"{hashlib.sha256(chr(0).join(identity).encode()).hexdigest()[:16]}.mp4"
