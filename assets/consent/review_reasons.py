"""Why footage is rejected or disputed: the closed list of codes, what each says to people, and what it costs.

A reviewer names codes from this list and no others, so that a rejection can be counted, appealed and answered. Legal,
policy and fraud reasons are fatal: the footage is used for nothing. What is merely not good enough, not what was
specified or one too many may still enter the catalogue.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_SENTENCES: dict[str, dict[str, str]] = {
    "legal": {
        "missing_model_release": "somebody recognisable is in it who has not agreed",
        "release_mismatch": "a release names other people than are seen",
        "minor_no_guardian": "a minor is in it, and no guardian agreed to training",
        "property_release": "recognisable property is in it whose owner has not agreed",
        "trademark": "a trademark is prominent in it",
        "third_party_ip": "it shows a work of somebody else: a picture, a film, a building under protection",
        "privacy": "it shows private matters of somebody: an address, a number plate, a document, a home",
        "public_figure": "a public figure is in it who has not agreed",
    },
    "policy": {
        "ai_generated": "it was generated, in whole or in part",
        "watermark_or_text": "a watermark, logo or overlaid text is in the picture",
        "prohibited_content": "it shows what is not accepted here",
        "nsfw": "it is sexual or shows nudity",
        "dangerous_shoot": "somebody was in danger when it was made",
    },
    "metadata": {
        "subject_mismatch": "it does not show the declared subject",
        "place_mismatch": "it was not filmed at the declared place",
        "time_mismatch": "it was not filmed at the declared time of day",
        "misleading_caption": "the description is misleading",
    },
    "spec": {
        "resolution": "the resolution is not what was declared or asked",
        "upscaled": "it was scaled up from a smaller picture",
        "aspect": "the aspect ratio is not what was declared or asked",
        "duration": "it is too short, too long, or not as long as declared",
        "fps": "the frame rate is not what was asked",
        "codec": "the codec is not accepted",
        "audio": "the sound is not what was asked",
    },
    "quality": {
        "focus": "it is out of focus",
        "exposure": "it is too dark or burnt out",
        "noise": "it is noisy",
        "stability": "the camera shakes, or nothing moves",
        "artefacts": "there are compression artefacts, black or frozen frames",
        "framing": "the framing is poor, or there are borders",
    },
    "dup": {
        "exact": "the same footage was delivered before",
        "near": "nearly the same footage was delivered before",
        "own_similar": "you delivered something too similar",
        "other_owner": "somebody else delivered this footage first",
    },
    "fraud": {
        "stolen": "it is somebody else's footage",
        "screen_recapture": "it was filmed off a screen",
        "metadata_edited": "its metadata was tampered with",
    },
    "capacity": {
        "request_filled": "the request was filled before",
        "over_quota": "you had filled your share of the request",
        "late": "it came after the deadline",
    },
}
REASONS: dict[str, str] = {
    f"{family}.{name}": said for family, names in _SENTENCES.items() for name, said in names.items()
}
# what the platform's own rules say; no reviewer names these
_RULES = {
    "consent.none": "no consent speaks of it",
    "consent.revoked": "consent was withdrawn",
    "consent.expires": "consent ends before training on it would",
    "consent.not_yet": "consent is not in force yet",
    "consent.scope": "consent does not cover this purpose",
    "consent.territory": "consent does not cover this territory",
    "consent.recipient": "consent does not cover this recipient",
    "legal.persons_unmeasurable": "no detector counted the people in it",
    "dispute.open": "somebody objects, and no officer has decided yet",
    "dispute.upheld": "somebody objected and was right",
    "review.pending": "reviewers of two organisations have not approved it yet",
    "review.rejected": "a reviewer rejects it",
    "review.not_independent": "who approved has a part in it, or works with another who did",
    "review.third_needed": "two people approve nearly all of this contributor, and a third has to agree",
    "review.superseded": "judged again later",
    "review.outdated": "void: the clip, its people or its consents have changed since",
    "review.unregistered": "void: not on the register",
    "review.same_organisation": "same organisation as another",
    "review.appealed": "overruled on appeal",
    "dup.unresolved": "not compared with other footage yet",
    "quality.unresolved": "not checked yet",
    "platform.not_measured": "the platform failed to measure it, which is no fault of it, and will try again",
    "metadata.provenance_broken": "its signed provenance does not hold, which alone proves nothing",
    "review.spectral_pattern": "a regular pattern in its fine detail: look closely whether it was generated",
}
FATAL = frozenset({"legal", "policy", "fraud"})
CATALOGUE = frozenset({"quality", "spec", "capacity"})  # what these miss is the brief, not the catalogue


class UnknownReason(ValueError):
    """A code that is not on the list; the message names the nearest ones."""


def closed(codes: Iterable[str]) -> tuple[str, ...]:
    """The codes, each once and sorted. Raises UnknownReason for one that is not on the list."""
    given = sorted({code.strip() for code in codes} - {""})
    for code in given:
        if code not in REASONS:
            near = difflib.get_close_matches(code, REASONS, n=4, cutoff=0.5) or _of_family(code) or sorted(_SENTENCES)
            raise UnknownReason(f"no such reason: {code!r}; near it are {', '.join(near)}")
    return tuple(given)


def _of_family(code: str) -> list[str]:
    return [known for known in REASONS if known.split(".")[0] == code.split(".")[0]]


def family(code: str) -> str:
    return code.split(".", 1)[0]


def fatal(codes: Iterable[str]) -> bool:
    """Whether any of these keeps footage from every use."""
    return any(family(code) in FATAL for code in codes)


def fit_for_catalogue(codes: Iterable[str]) -> bool:
    """Whether footage that was rejected for these alone may still enter the catalogue."""
    return all(family(code) in CATALOGUE for code in codes)


def in_words(code: str) -> str:
    """What a code says to people, a rule's code included; one of a machine check that is not listed speaks for itself."""
    return (REASONS | _RULES).get(code, code.partition(".")[2].replace("_", " ") or code)
