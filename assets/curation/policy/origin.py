"""Where pictures come from: verdicts over what the probe stored of a file's signed provenance and of its pixels.

Only two things condemn: a declaration that an algorithm made the pictures, in whole or in part, wherever in the file's
history it stands and whether or not its signature holds (nobody claims that to gain by it), and our own watermark. A
manifest that does not hold counts as none and is noted, since whoever wants to deceive removes it anyway; a capture
signed under a trusted root counts in favour; a regular pattern in the spectrum only orders what people look at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assets.curation.policy.policy import Finding
from assets.marks.c2pa import CAPTURED, GENERATED, type_name

Row = Mapping[str, Any]
BROKEN = ("invalid", "unreadable")
MARK_BLOCKS, BLOCK = 32, 8  # a smaller picture cannot carry our watermark


def synthetic_origin(media: Row) -> Finding:
    """Does the file, or anything that it was made of, declare an algorithm as its author?"""
    state, kind = media["c2pa_state"], type_name(media["c2pa_source_type"] or "")
    threshold = "no " + ", ".join(sorted(GENERATED))
    if kind in GENERATED:
        return Finding("fail", kind, threshold, f"the file declares {kind} (C2PA manifest {state})")
    if state is None:
        return Finding("not_measured", None, threshold, "the file's provenance was not read")
    if state == "absent":
        return Finding("pass", "absent", threshold, "no C2PA manifest; absence is neutral")
    if state in BROKEN:
        return Finding("pass", state, threshold, f"the C2PA manifest is {state} and counts as none")
    return Finding("pass", kind or state, threshold, f"the C2PA manifest ({state}) declares {kind or 'no source type'}")


def provenance(media: Row) -> Finding:
    """Is the file's manifest whole, and signed by a device that is trusted?"""
    state, kind, detail = media["c2pa_state"], type_name(media["c2pa_source_type"] or ""), media.get("c2pa_detail")
    asked = "a whole manifest"
    if state in (None, "absent"):
        return Finding("unmeasurable", None, asked, "no C2PA manifest; absence is neutral")
    declared = f"{kind or 'no source type'}{f'; {detail}' if detail else ''}"
    if state in BROKEN:
        return Finding("fail", state, asked, f"the manifest is {state}: {declared}")
    if state == "trusted" and kind in CAPTURED:
        return Finding("pass", "trusted capture", asked, f"a trusted device signs that it captured this: {declared}")
    signer = "known" if state == "trusted" else "unknown"
    return Finding("pass", state, asked, f"the manifest is whole, its signer {signer}: {declared}")


def own_watermark(media: Row, limit: float) -> Finding:
    """Do the pictures carry our own watermark? `limit` is the decadic logarithm of the chance of a false alarm."""
    threshold = f"at least {limit:g}"
    value, width, height = media.get("watermark_log10_p"), media["width"], media["height"]
    if value is None and width and height and (width // BLOCK) * (height // BLOCK) < MARK_BLOCKS:
        return Finding("pass", None, threshold, f"{width}x{height} is too small to carry our watermark")
    if value is None:
        return Finding("not_measured", None, threshold, "nobody looked for our watermark in this file")
    if value < limit:
        detail = f"our own watermark, bits {media.get('watermark_payload')}: chance of a false alarm 10^{value:.1f}"
        return Finding("fail", f"{value:.1f}", threshold, detail)
    return Finding("pass", f"{value:.1f}", threshold, "our own watermark is not on it")


def spectral_pattern(media: Row, limit: float) -> Finding:
    """Does one spatial frequency stand out, as after upsampling?"""
    threshold, value = f"at most {limit:g}", media.get("spectral_peak_db")
    if value is None:
        return Finding("unmeasurable", None, threshold, "no picture was large enough, or none was measured")
    verdict = "pass" if value <= limit else "fail"
    return Finding(
        verdict, f"{value:.1f}", threshold, f"a peak of {value:.1f} dB over its surroundings; it orders reviews only"
    )
