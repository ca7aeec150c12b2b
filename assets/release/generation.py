"""The one door through which generated video leaves: prompt policy, generation, both marks, read back.

Everything that hands out a generated file comes here: `rushes generate`, the registered model's `predict`, and the
release. Unmarked frames exist only in a temporary folder.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.evaluation.serving import Serving
from assets.release.given import reference_file
from assets.release.marks import mark_video, read_marks
from assets.release.policy import PromptRefused, screen
from assets.store import write_atomically

if TYPE_CHECKING:
    from assets.home import Home


class NothingToServe(LookupError):
    """There is no model version that may answer."""


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
    options: dict[str, Any] | None = None,
) -> list[Answer]:
    """Generate a marked mp4 in `folder` for every prompt that the policy lets pass; order is kept.

    `model` is a packaged model's folder (weights and serving file). `options` are further fields of
    `training.config.GenerateConfig`: steps, guidance, frames, size, references. Raises MarkError when a file cannot be
    marked; then none of that file is left.
    """
    from training.sample import generate

    serving = Serving.read(model)
    screened = [screen(prompt) for prompt in prompts]
    passed = [index for index, verdict in enumerate(screened) if not verdict.refused]
    paths: dict[int, Path] = {}
    with tempfile.TemporaryDirectory(prefix="unmarked-") as scratch:
        made = generate(
            model,
            Path(serving.text_encoder),
            [screened[index].text for index in passed],
            Path(scratch),
            seeds=[seeds[index] for index in passed],
            **(options or {}),
        ) if passed else []  # fmt: skip
        for index, video in zip(passed, made, strict=True):
            paths[index] = folder / _name(serving, screened[index].text, seeds[index])
            mark_video(Path(video["path"]), paths[index], serving.claims, Path(serving.keys))
    return [
        Answer(verdict.text, seeds[index], paths.get(index), verdict.refused) for index, verdict in enumerate(screened)
    ]


def _name(serving: Serving, prompt: str, seed: int) -> str:
    identity = "\0".join([str(serving.claims.get("model_id")), prompt, str(seed)])
    return f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.mp4"


def generate_marked(
    home: Home, prompt: str, out: Path, seed: int = 0, version: str | None = None, **options: Any
) -> dict[str, Any]:
    """Answer one prompt with a marked file at `out`, by the champion or by the version named; says what came of it.

    Raises PromptRefused, NothingToServe (no champion, or a version that must not serve),
    ReferenceRefused and MarkError.
    """
    from assets.evaluation.registry import CHAMPION, Registry

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
    if serving.taint:
        raise NothingToServe(f"version {number} must not serve: {serving.taint}")
    with tempfile.TemporaryDirectory(prefix="marked-") as scratch:
        (made,) = answer(registry.model_folder(number), [prompt], [seed], Path(scratch), options)
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
