"""The two marks that every generated file carries, a watermark and a signed manifest: put on one file, or read off it.

How each is made is in `watermark` and `c2pa`; who asks for videos, in `assets.serving.answer` and `assets.release`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.marks import watermark
from assets.marks.c2pa import TRAINED, Provenance, read_provenance, sign_video
from training.data.video import VideoError, read_frames, write_mp4

REQUIRED_CLAIMS = ("model_id", "snapshot_root", "ledger_checkpoint")
HARSH_CRF = 23  # what a platform typically re-encodes with: the watermark must survive it before it leaves


class MarkError(RuntimeError):
    """A file cannot be marked so that both marks read back, so it must not leave."""


@dataclass(frozen=True)
class Marks:
    """What is on a file. `bits` of 32 agree with the watermark that its model's videos carry."""

    provenance: Provenance
    bits: int
    problems: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return not self.problems


def mark_video(src: Path, dst: Path, claims: Mapping[str, Any], keys: Path) -> Marks:
    """Write `src` to `dst` with both marks: watermark, encode, sign, then read both back from `dst`.

    The weakest watermark that survives re-encoding is taken. Raises MarkError, and then nothing is at `dst`.
    """
    if lacking := [name for name in REQUIRED_CLAIMS if not claims.get(name)]:
        raise MarkError(f"{dst.name} cannot be marked: nothing is known of its {', '.join(lacking)}")
    key, payload = watermark.watermark_key(keys), watermark.payload_of(str(claims["model_id"]))
    frames, fps = read_frames(src)
    with tempfile.TemporaryDirectory(prefix="marking-") as scratch:
        encoded, harsh = Path(scratch) / "marked.mp4", Path(scratch) / "harsh.mp4"
        for strength in watermark.STRENGTHS:
            write_mp4(encoded, watermark.embed(frames, payload, key, strength), fps)
            decoded, _ = read_frames(encoded)
            write_mp4(harsh, decoded, fps, crf=HARSH_CRF)
            if watermark.carries(decoded, payload, key) and watermark.carries(read_frames(harsh)[0], payload, key):
                break
        else:
            raise MarkError(f"{dst.name}: no watermark of strength up to {strength:g} survives encoding")
        sign_video(encoded, dst, dict(claims), keys)
    marks = read_marks(dst, keys)
    if not marks.complete:
        dst.unlink(missing_ok=True)
        raise MarkError(f"{dst.name}: {'; '.join(marks.problems)}")
    return marks


def read_marks(path: Path, keys: Path) -> Marks:
    """Both marks as they are on the file, with every problem found. The watermark sought is the claimed model's."""
    provenance = read_provenance(path, trust=keys)
    problems = []
    if provenance.state != "trusted":
        problems.append(f"manifest {provenance.state}, not trusted ({provenance.detail or 'no signer that we know'})")
    if provenance.source_type != TRAINED:
        problems.append("manifest does not say that a trained model made it")
    if lacking := [name for name in REQUIRED_CLAIMS if not provenance.claims.get(name)]:
        problems.append(f"manifest does not name {', '.join(lacking)}")
    try:
        payload = watermark.read(read_frames(path)[0], watermark.watermark_key(keys))
        bits = watermark.agreement(payload, watermark.payload_of(str(provenance.claims.get("model_id"))))
    except (VideoError, watermark.TooSmall) as error:
        bits = 0
        problems.append(f"watermark unreadable: {error}")
    else:
        if bits < watermark.ACCEPT:
            problems.append(f"watermark agrees in {bits} of {watermark.BITS} bits, {watermark.ACCEPT} are needed")
    return Marks(provenance, bits, tuple(problems))
