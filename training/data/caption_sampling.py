"""Which of a clip's captions a step of training is given.

A member of a manifest may carry several phrasings of what is told of it. One is drawn for every clip and step, from the
seed, the clip and the step alone, so that a resumed run, or one on other machines, draws the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from training.model import flow


def texts_of(member: Mapping[str, Any]) -> tuple[str, ...]:
    """All phrasings of a member, the one that evaluation uses first; its only caption where it was sealed with one."""
    return tuple(member.get("captions") or (member["caption"],))


def draw_text(texts: Sequence[str], seed: int, clip_id: str, step: int) -> str:
    """One of the texts, each as likely as the next. The clip's other draws of the step do not depend on it."""
    if len(texts) == 1:
        return texts[0]
    return texts[int(torch.randint(len(texts), (), generator=flow.keyed("caption", seed, clip_id, step)))]
