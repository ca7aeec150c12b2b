"""What a generated video may start from: a person's own file, or a clip whose consent stands at the head of the ledger.

Belongs here: finding the file that a name means, and refusing it. `training.sampling.references` handles the pictures.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assets.home import Home

SHORTEST = 8  # characters of a clip id that are enough where they are unique


class ReferenceRefused(ValueError):
    """A picture, video or clip that nothing may start from. Says why, and what would do."""


def reference_file(home: Home, name: str) -> Path:
    """The file `name`, or the frames of the clip with this id (or its beginning). Raises ReferenceRefused.

    A clip must be in the sealed snapshot, and consent to it must hold now, as for the model that has seen it.
    """
    if Path(name).is_file():
        return Path(name)
    if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST},64}}", name):
        raise ReferenceRefused(f"{name}: no such file, and no clip id ({SHORTEST} to 64 characters of 0-9 and a-f)")
    return _clip(home, name)


def _clip(home: Home, beginning: str) -> Path:
    from assets.consent import standing
    from assets.dataset import renditions
    from assets.dataset.sealed import SnapshotError, current
    from training.consent.guard import WHOLE

    try:
        sealed = current(home)
    except (SnapshotError, FileNotFoundError) as error:
        raise ReferenceRefused(f"{beginning}: there are no clips to start from yet: {error}") from error
    found = [clip_id for clip_id in sealed.clip_ids if clip_id.startswith(beginning)]
    if len(found) != 1:
        what = f"{len(found)} clips begin so, write more of the id" if found else "no clip of the sealed snapshot"
        raise ReferenceRefused(f"{beginning}: {what}")
    violations = standing.violations(home, sealed.root)
    if why := violations.get(found[0], violations.get(WHOLE)):
        raise ReferenceRefused(f"{found[0]}: consent does not cover this clip any more ({', '.join(why)})")
    return home.store.fetch(renditions.key(found[0]))
