"""Subjects by meaning: declared words whose embeddings are near each other are one subject.

What belongs here: the clustering, pure and deterministic. Leader clustering (Hartigan, "Clustering Algorithms", 1975,
ch. 3): in order of arrival, a text joins the nearest leader that is near enough, or leads a subject of its own. One
pass, and later texts never move earlier ones, so a new delivery cannot re-weigh footage that it has nothing to do with;
k-means would. A subject bears its leader's words for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from assets.diversity.classes import UNKNOWN

# MiniLM's cosine: "city street" and "a busy street in the city" 0.75, "tram in the city" 0.57, and "people cooking" and
# "chef in a kitchen" 0.58 are one subject; "mountain peak" and "snow on mountains" 0.53, "sea" and "harbour" 0.45 two
NEAR = 0.55
MOST = 512  # subjects; what comes later joins the nearest, however far, so that the cost stays linear
_BLOCK = 4096

Embed = Callable[[Sequence[str]], np.ndarray]


def leaders(vectors: np.ndarray, near: float = NEAR, most: int = MOST) -> np.ndarray:
    """For each unit vector f32 [N, width], in order of arrival, the index of its leader: int64 [N]."""
    leading: list[int] = []
    found = np.empty(len(vectors), np.int64)
    heads = np.empty((min(most, len(vectors)), vectors.shape[1]), vectors.dtype)
    for start in range(0, len(vectors), _BLOCK):
        block, known = vectors[start : start + _BLOCK], len(leading)
        nearest, cosine = _nearest(block, heads[:known])
        for offset, vector in enumerate(block):
            index = start + offset
            best, score = nearest[offset], cosine[offset]
            if len(leading) > known:  # leaders that this block brought
                fresh = heads[known : len(leading)] @ vector
                if fresh.max() > score:
                    best, score = known + int(fresh.argmax()), fresh.max()
            if score < near and len(leading) < most:
                heads[len(leading)] = vector
                best = len(leading)
                leading.append(index)
            found[index] = leading[best]
    return found


def _nearest(block: np.ndarray, heads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not len(heads):
        return np.zeros(len(block), np.int64), np.full(len(block), -2.0)
    cosines = block @ heads.T
    best = cosines.argmax(axis=1)
    return best, cosines[np.arange(len(block)), best]


def subjects(texts: Sequence[str], embed: Embed | None) -> dict[str, str]:
    """The subject's name for each distinct text, `texts` being in order of arrival.

    Without an encoder every wording is a subject of its own: coarser truth, but the same in every run.
    """
    distinct = [text for text in dict.fromkeys(texts) if text != UNKNOWN]
    named = {UNKNOWN: UNKNOWN} | {text: text for text in distinct}
    if embed is None or not distinct:
        return named
    vectors = np.asarray(embed(distinct), np.float32)
    return named | {text: distinct[leader] for text, leader in zip(distinct, leaders(vectors), strict=True)}
