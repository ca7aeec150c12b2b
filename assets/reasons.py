"""Why footage is refused: every code for a delivery, a file or a clip, what it means to people, and how it is written.

A reason is a code with a sentence (`media.truncated: the file ends at byte 254934 of 509868`), so that a program can
count it and a contributor can act on it. A file with a code of `TRAITS` is accepted and the trait noted,
unless the probe's limits refuse it. Text that came from outside goes through `printable` first.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from enum import StrEnum
from typing import Self

MAX_TEXT = 300
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # of an OSError: no fault of what is written

_MANIFEST = "Correct delivery.json and deliver the folder again."
_AGAIN = "Copy or export it again from the original and deliver that."
_OURS = "That may be our fault: its next version tries again. A fresh export may help."
_NOTED = "Accepted as it is."


class Code(StrEnum):
    """Each with its advice: what it means, and what whoever delivered can do. Traits are noted, and refuse nothing."""

    advice: str
    is_trait: bool

    def __new__(cls, value: str, advice: str, is_trait: bool = False) -> Self:
        code = str.__new__(cls, value)
        code._value_, code.advice, code.is_trait = value, advice, is_trait
        return code

    # fmt: off
    # the manifest, for a whole delivery
    MANIFEST_NOT_A_FILE = "manifest.not_a_file", "delivery.json must be a plain file. " + _MANIFEST
    MANIFEST_TOO_LARGE = "manifest.too_large", "The manifest is larger than any real one. " + _MANIFEST
    MANIFEST_NOT_JSON = "manifest.not_json", "The manifest is not strict JSON. " + _MANIFEST
    MANIFEST_SCHEMA = "manifest.schema", "A field of the manifest is missing, unknown or of another form. " + _MANIFEST
    MANIFEST_CONTROL_CHARACTER = ("manifest.control_character",
        "A text in the manifest carries control characters. " + _MANIFEST)
    MANIFEST_NOT_UNICODE = "manifest.not_unicode", "A text in the manifest is not valid Unicode. " + _MANIFEST
    MANIFEST_DUPLICATE_ID = "manifest.duplicate_id", "The delivery's id is taken. Give it a new one."
    # one item of a delivery
    DELIVERY_QUARANTINED = "item.delivery_quarantined", "The file came with a manifest that was refused. " + _MANIFEST
    UNSAFE_NAME = "item.unsafe_name", "The name leaves its folder or carries control characters. Rename the file."
    REPEATED_NAME = "item.repeated_name", "Two clips name one file. Name each file once."
    AMBIGUOUS_NAME = "item.ambiguous_name", "The name fits several files. Rename them apart."
    MISSING_FILE = "item.missing_file", "A named file did not come. Deliver it."
    NOT_A_FILE = "item.not_a_file", "A link or a special file. Deliver the file itself."
    NOT_IN_MANIFEST = "item.not_in_manifest", "The manifest does not name this file. Describe it there, or leave it out."
    SIDECAR_TOO_LARGE = "item.sidecar_too_large", "A file beside a clip is larger than the clip. Leave it out."
    CONSENT_UNREADABLE = "item.consent_unreadable", "The consent file cannot be read. Export the signed events again."
    # the file itself
    FILE_GONE = "media.file_gone", "The file could not be read. It is tried again; if it is gone, deliver it again."
    CHANGED = "media.changed", "The file changed while it was taken in. It is taken in again when it is complete."
    NO_ROOM = "media.no_room", "Our disk had no room for it, which is not the file's fault. It is taken in when there is."
    OTHER_BYTES = ("media.other_bytes",
        "Not the file that the manifest's sha256 names: damaged or exchanged on its way. " + _AGAIN)
    EMPTY = "media.empty", "The file is empty. " + _AGAIN
    TOO_LARGE = "media.too_large", "The file is larger than the platform takes. Deliver it in parts."
    NOT_VIDEO = "media.not_video", "Not a known container of footage. Deliver MP4, MOV, MKV, WebM, AVI, MPEG or MXF."
    ENCRYPTED = "media.encrypted", "The pictures are encrypted. Deliver them without protection."
    EXTERNAL_DATA = "media.external_data", "The file refers to pictures in another file. Export a self-contained one."
    AUDIO_ONLY = "media.audio_only", "There is sound and no picture. Deliver the video."
    COVER_PICTURE_ONLY = "media.cover_picture_only", "The only picture is a cover beside the sound. Deliver the video."
    NO_VIDEO_STREAM = "media.no_video_stream", "No stream of moving pictures. Deliver the video."
    UNKNOWN_CODEC = ("media.unknown_codec",
        "No decoder here knows the pictures' codec. Export as H.264, HEVC, VP9, AV1 or ProRes.")
    NO_FRAMES = "media.no_frames", "Not one picture could be decoded. " + _AGAIN
    SINGLE_FRAME = "media.single_frame", "A single picture is not a video. Deliver the video."
    ZERO_DURATION = "media.zero_duration", "All pictures have the same time. " + _AGAIN
    FRAMES_MISSING = "media.frames_missing", "Pictures that are stored do not decode. " + _AGAIN
    TRUNCATED = "media.truncated", "The end of the file is missing. " + _AGAIN
    OVERDECLARED_FRAMES = "media.overdeclared_frames", "The header promises more pictures than are stored. " + _AGAIN
    OVERDECLARED_DURATION = "media.overdeclared_duration", "The header promises a longer film than is stored. " + _AGAIN
    BROKEN_STRUCTURE = ("media.broken_structure",
        "Parts of the container do not fit together, so pictures may be missing. " + _AGAIN)
    CHECKSUM = "media.checksum", "The file does not match the checksum that it carries. " + _AGAIN
    DECODE_ERRORS = "media.decode_errors", "Pictures are damaged. " + _AGAIN
    TOO_MANY_PIXELS = "media.too_many_pixels", "The pictures are larger than the platform takes. Export them smaller."
    TOO_SMALL = "media.too_small", "The pictures are too small to show anything. Deliver the original size."
    TOO_MANY_FRAMES = "media.too_many_frames", "More pictures than the platform takes in one file. Deliver it in parts."
    TOO_LONG = "media.too_long", "Longer than the platform takes in one file. Deliver it in parts."
    SIZE_CHANGES = "media.size_changes", "The pictures change their size within the file. Export them at one size."
    OUT_OF_MEMORY = ("media.out_of_memory",
        "Decoding took more memory than one file may. Export it with fewer reference pictures.")
    TIMEOUT = "media.timeout", "Decoding made no progress in the time that one file may take. " + _OURS
    CRASHED = "media.crashed", "The decoder broke down over this file. " + _OURS
    # traits: noted, not refused
    VARIABLE_FRAME_RATE = ("media.variable_frame_rate",
        "The pace of the pictures varies. Accepted; their own times are kept.", True)
    MISSING_TIMESTAMPS = "media.missing_timestamps", "Pictures carry no time. Accepted; the nominal rate places them.", True
    REPEATED_TIMESTAMPS = ("media.repeated_timestamps",
        "Pictures share a time or go back. Accepted; each follows the one before.", True)
    NEGATIVE_TIMESTAMPS = ("media.negative_timestamps",
        "The film starts before zero. Accepted; times start at the first picture.", True)
    EDIT_LIST = "media.edit_list", "An edit list hides or rearranges what is stored. Accepted as it is shown.", True
    ROTATED = "media.rotated", "Shown turned. Accepted; sizes are those of the picture as shown.", True
    ODD_SIZE = "media.odd_size", "A side has an odd number of pixels. " + _NOTED, True
    NON_SQUARE_PIXELS = ("media.non_square_pixels",
        "Players stretch the pixels. Accepted; sizes are those of the stored pixels.", True)
    INTERLACED = "media.interlaced", "Pictures are woven of two fields. Accepted; prefer progressive footage.", True
    HIGH_BIT_DEPTH = "media.high_bit_depth", "More than eight bits a sample. " + _NOTED, True
    HDR = "media.hdr", "High dynamic range. Accepted; it is shown here without tone mapping, so prefer SDR.", True
    SEVERAL_VIDEO_STREAMS = "media.several_video_streams", "Several streams of pictures. Only the first is taken.", True
    COVER_PICTURE = "media.cover_picture", "A cover picture beside the film. It is ignored.", True
    SUBTITLES = "media.subtitles", "Subtitles. They are ignored.", True
    DATA_STREAMS = "media.data_streams", "Streams or attachments that are neither picture nor sound. They are ignored.", True
    UNDERDECLARED = ("media.underdeclared",
        "More is stored than the header promises. Accepted; all that is stored is taken.", True)
    FOREIGN_BYTES = "media.foreign_bytes", "Bytes follow the end of the film. They are ignored.", True
    OTHER_EXTENSION = "media.other_extension", "The name ends as another kind of file does. Accepted as what it is.", True
    COMPLAINTS = "media.complaints", "The decoder complained, and all pictures came out. " + _NOTED, True
    # fmt: on

    def because(self, detail: str) -> str:
        """The reason as tables hold it: `code: detail`."""
        return f"{self.value}: {printable(detail)}"


FAULTS = frozenset(code for code in Code if not code.is_trait)
TRAITS = frozenset(code for code in Code if code.is_trait)
TEMPORARY = frozenset({Code.FILE_GONE, Code.CHANGED, Code.NO_ROOM})  # the next look at the inbox tries again


def code_of(reason: str) -> str:
    """The code of a reason as tables hold it."""
    return reason.split(":", 1)[0]


def advice_on(reason: str) -> str:
    """What a reason as tables hold it means; nothing for a code that is not known (any more)."""
    return next((code.advice for code in Code if code == code_of(reason)), "")


def printable(text: str, limit: int = MAX_TEXT) -> str:
    """`text` without anything that a log, a table or a page could trip over: control and format characters and lone
    surrogates are written as escapes, and what is too long is cut."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


# -- why footage is rejected or disputed -----------------------------------------------------------------------------
# A reviewer names codes of `REASONS` and no others, so that a rejection can be counted, appealed and answered. Legal, policy
# and fraud reasons are fatal: the footage is used for nothing. What is merely not good enough, not what was specified or one
# too many may still enter the catalogue.

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
    f"{family}.{name}": sentence for family, names in _SENTENCES.items() for name, sentence in names.items()
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
    "platform.not_measured": "the platform failed to measure it, which is not its fault, and will try again",
    "metadata.provenance_broken": "its signed provenance does not hold, which alone proves nothing",
    "review.spectral_pattern": "a regular pattern in its fine detail: look closely whether it was generated",
}
FATAL = frozenset({"legal", "policy", "fraud"})
CATALOGUE = frozenset({"quality", "spec", "capacity"})  # what these miss is the brief, not the catalogue


class UnknownReason(ValueError):
    """A code that is not on the list; the message names the nearest ones."""


def closed(codes: Iterable[str]) -> tuple[str, ...]:
    """The codes, each once and sorted. Raises UnknownReason for one that is not on the list."""
    distinct = sorted({code.strip() for code in codes} - {""})
    for code in distinct:
        if code not in REASONS:
            relatives = [reason for reason in REASONS if family(reason) == family(code)]
            near = difflib.get_close_matches(code, REASONS, n=4, cutoff=0.5) or relatives or sorted(_SENTENCES)
            raise UnknownReason(f"no such reason: {code!r}; near it are {', '.join(near)}")
    return tuple(distinct)


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
