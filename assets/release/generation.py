"""The one door through which generated video leaves: prompt policy, generation, both marks, read back.

Everything that hands out a generated file comes here: `rushes generate`, the registered model's `predict`, and the
release. Unmarked frames exist only in a temporary folder.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.marks.marking import mark_video, read_marks
from assets.release.given import reference_file
from assets.serving.policy import PromptRefused, screen
from assets.serving.serve import NothingToServe, Serving
from assets.store import write_atomically

if TYPE_CHECKING:
    from assets.home import Home


@dataclass(frozen=True)
class Answer:
    """One prompt's outcome: a marked file, or the reasons why there is none."""

    prompt: str
    seed: int
    path: Path | None
    refused: tuple[str, ...] = ()


def answer(
    model: Path,
    prompts: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    options: Sequence[Mapping[str, Any]] = (),
    may_answer: Callable[[], None] | None = None,
) -> list[Answer]:
    """Generate a marked mp4 in `folder` for every prompt that the policy lets pass; order is kept.

    `model` is a packaged model's folder (weights and serving file). `options` are, for each prompt, further fields of
    `training.config.GenerateConfig`: steps, guidance, frames, size, references; without them the model's own hold.
    `may_answer` raises where the model must not answer; it is asked before anything is made and again before anything
    leaves, since generating takes time. Raises MarkError when a file cannot be marked. After an error nothing is in `folder`.
    """
    serving = Serving.read(model)
    asked = may_answer or serving.require_untainted
    asked()
    screened = [screen(prompt) for prompt in prompts]
    told = [dict(given) for given in options] or [{} for _ in prompts]
    passed = [index for index, verdict in enumerate(screened) if not verdict.refused]
    paths: dict[int, Path] = {}
    with tempfile.TemporaryDirectory(prefix="unmarked-") as scratch:
        marked = Path(scratch) / "marked"
        marked.mkdir()
        for group in _alike(passed, told):
            texts, drawn = [screened[index].text for index in group], [seeds[index] for index in group]
            videos = _generate(model, serving, texts, drawn, Path(scratch) / f"group-{group[0]}", told[group[0]])
            for index, video in zip(group, videos, strict=True):
                paths[index] = folder / _name(serving, screened[index].text, seeds[index], told[index])
                mark_video(video, marked / paths[index].name, serving.claims, Path(serving.keys))
        asked()
        for path in paths.values():
            write_atomically(path, marked / path.name)
    return [
        Answer(verdict.text, seeds[index], paths.get(index), verdict.refused) for index, verdict in enumerate(screened)
    ]


def _alike(indices: Sequence[int], options: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """The prompts' indices in groups of the same options: those are generated together."""
    groups: dict[str, list[int]] = {}
    for index in indices:
        groups.setdefault(json.dumps(options[index], sort_keys=True), []).append(index)
    return list(groups.values())


def _generate(
    model: Path, serving: Serving, prompts: Sequence[str], seeds: Sequence[int], out: Path, options: Mapping[str, Any]
) -> list[Path]:
    from training.sample import generate

    out.mkdir()
    made = generate(model, Path(serving.text_encoder), prompts, out, seeds=seeds, **options)
    return [Path(video["path"]) for video in made]


def _name(serving: Serving, prompt: str, seed: int, options: Mapping[str, Any]) -> str:
    identity = [str(serving.claims.get("model_id")), prompt, str(seed)]
    identity += [json.dumps(options, sort_keys=True)] if options else []
    return f"{hashlib.sha256(chr(0).join(identity).encode()).hexdigest()[:16]}.mp4"


def generate_marked(
    home: Home, prompt: str, out: Path, seed: int = 0, version: str | None = None, **options: Any
) -> dict[str, Any]:
    """Answer one prompt with a marked file at `out`, by the champion or by the version named; says what came of it.

    Raises PromptRefused, NothingToServe (no champion, a version that must not serve, or a champion that changed
    meanwhile), ReferenceRefused and MarkError.
    """
    from assets.registry.versions import CHAMPION, Registry

    for text in filter(None, (prompt, options.get("negative_prompt"))):
        if refused := screen(text).refused:
            raise PromptRefused(f"the prompt is not answered: {', '.join(refused)}")
    if references := options.get("references"):
        options["references"] = [entry | {"path": str(reference_file(home, entry["path"]))} for entry in references]
    registry = Registry(home)
    number = version or registry.alias(CHAMPION)
    if number is None:
        raise NothingToServe(
            "no version is champion: train a model first (`rushes run`), or promote one (`rushes promote VERSION`)"
        )
    serving = registry.version(number)

    def may_answer() -> None:
        now = registry.version(number)
        if now.taint:
            raise NothingToServe(f"version {number} must not serve: {now.taint}")
        if version is None and CHAMPION not in now.aliases:
            raise NothingToServe(f"version {number} stopped being champion while it generated; ask again")

    may_answer()  # before its files are looked for
    with tempfile.TemporaryDirectory(prefix="marked-") as scratch:
        folder = registry.model_folder(number)
        (made,) = answer(folder, [prompt], [seed], Path(scratch), [options], may_answer)
        assert made.path is not None  # the policy let it pass above
        write_atomically(Path(out), made.path)
    marks = read_marks(Path(out), home.signing)
    return {
        "file": str(out),
        "prompt": made.prompt,
        "seed": seed,
        "version": number,
        "model": serving.model_key,
        "snapshot root": serving.snapshot_root,
        "C2PA": f"{marks.provenance.state}, {(marks.provenance.source_type or '').rsplit('/', 1)[-1]}",
        "watermark": f"{marks.bits} of 32 bits read back",
    }
