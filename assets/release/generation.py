"""`rushes generate`: one prompt, answered by the champion or a named version with a marked file that is read back.

References (a first frame, a video to continue) are a person's own files, or clips whose consent stands at the head of the
ledger. Generation itself is in `assets.serving.answer`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from assets.consent import standing
from assets.dataset import renditions
from assets.dataset.sealed import SnapshotError, current
from assets.home import Home
from assets.marks.marking import read_marks
from assets.registry import CHAMPION, Registry
from assets.serving import answer as serving
from assets.serving.answer import Answer, GenerationRequest, PromptRefused, screen
from assets.serving.serve import NothingToServe, Serving
from assets.store import write_atomically
from training.consent.guard import WHOLE

SHORTEST_ID = 8  # characters of a clip id that suffice if they are unique


class ReferenceRefused(ValueError):
    """A picture, video or clip that nothing may start from. Says why, and what would do."""


def generate_marked(home: Home, request: GenerationRequest, output: Path, version: str | None = None) -> dict[str, Any]:
    """Answer one request with a marked file at `output`, by the champion or the named version; returns facts to print.

    Raises PromptRefused, NothingToServe (no champion, a version that must not serve, or a champion that changed in the
    meantime), ReferenceRefused and MarkError.
    """
    for text in filter(None, (request.prompt, request.options.get("negative_prompt"))):
        if refused := screen(text).refused:
            raise PromptRefused(f"the prompt is not answered: {', '.join(refused)}")
    if references := request.options.get("references"):
        files = [entry | {"path": str(reference_file(home, entry["path"]))} for entry in references]
        request = replace(request, options={**request.options, "references": files})
    registry = Registry(home)
    number = version or registry.alias(CHAMPION)
    if number is None:
        raise NothingToServe(
            "no version is champion: train a model first (`rushes run`), or promote one (`rushes promote VERSION`)"
        )

    def may_answer() -> None:
        current = registry.version(number)
        if current.taint:
            raise NothingToServe(f"version {number} must not serve: {current.taint}")
        if version is None and CHAMPION not in current.aliases:
            raise NothingToServe(f"version {number} stopped being champion while it generated; ask again")

    may_answer()  # before its files are looked for
    model = registry.version(number)
    with tempfile.TemporaryDirectory(prefix="marked-") as scratch:
        folder = registry.model_folder(number)
        (answer,) = serving.answer(folder, [request], Path(scratch), may_answer, Serving.read(folder, home))
        assert answer.path is not None  # the policy accepted the prompt above
        write_atomically(Path(output), answer.path)
    marks = read_marks(Path(output), home.signing)
    return {
        "file": str(output),
        "prompt": answer.prompt,
        "seed": answer.seed,
        "version": number,
        "model": model.model_key,
        "snapshot root": model.snapshot_root,
        "C2PA": f"{marks.provenance.state}, {(marks.provenance.source_type or '').rsplit('/', 1)[-1]}",
        "watermark": f"{marks.bits} of 32 bits read back",
    }


def export_version(home: Home, number: str, output: Path) -> Path:
    """Write a version that was tuned from a pretrained base as a folder of diffusers. Returns the folder.

    Raises NothingToServe for a tainted version, BaseError for one of our own, FileExistsError for a folder that is there.
    """
    from training.export import export

    registry = Registry(home)
    version = registry.version(number)
    if version.taint:
        raise NothingToServe(f"version {number} must not leave: {version.taint}")
    model_dir = registry.model_folder(number)
    return export(model_dir, Path(Serving.read(model_dir, home).base), Path(output))


def reference_file(home: Home, name: str) -> Path:
    """The file `name`, or the frames of the clip with this id (or its beginning). Raises ReferenceRefused.

    A clip must be in the sealed snapshot, and consent to it must hold now, as for the model that has seen it.
    """
    if Path(name).is_file():
        return Path(name)
    if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST_ID},64}}", name):
        raise ReferenceRefused(f"{name}: no such file, and no clip id ({SHORTEST_ID} to 64 characters of 0-9 and a-f)")
    return _clip_frames(home, name)


def _clip_frames(home: Home, beginning: str) -> Path:
    try:
        sealed = current(home)
    except (SnapshotError, FileNotFoundError) as error:
        raise ReferenceRefused(f"{beginning}: there are no clips to start from yet: {error}") from error
    matches = [clip_id for clip_id in sealed.clip_ids if clip_id.startswith(beginning)]
    if len(matches) != 1:
        what = f"{len(matches)} clips begin so, write more of the id" if matches else "no clip of the sealed snapshot"
        raise ReferenceRefused(f"{beginning}: {what}")
    (clip_id,) = matches
    violations = standing.violations(home, sealed.root)
    if why := violations.get(clip_id, violations.get(WHOLE)):
        raise ReferenceRefused(f"{clip_id}: consent does not cover this clip any more ({', '.join(why)})")
    return home.store.fetch(*renditions.keys(home, [clip_id]))


# Model versions keep a copy of the pyfunc file as it was at registration. Those registered before `assets.serving` existed
# import `answer` from this module and call it with prompts and seeds side by side; they must go on answering.
def answer(
    model: Path,
    prompts: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    options: Sequence[Mapping[str, Any]],
) -> list[Answer]:
    return serving.answer(model, [GenerationRequest(*row) for row in zip(prompts, seeds, options, strict=True)], folder)
