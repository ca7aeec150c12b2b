"""Why a delivery or a file is quarantined: every code there is, and how a reason is written down.

A reason is a code with a sentence (`media.truncated: the file ends at byte 254934 of 509868`), so that a program can
count it and a contributor can act on it. Text that came from outside goes through `printable` first.
"""

from __future__ import annotations

from enum import StrEnum

MAX_TEXT = 300


class Code(StrEnum):
    # the manifest, for a whole delivery
    MANIFEST_NOT_A_FILE = "manifest.not_a_file"
    MANIFEST_TOO_LARGE = "manifest.too_large"
    MANIFEST_NOT_JSON = "manifest.not_json"
    MANIFEST_SCHEMA = "manifest.schema"
    MANIFEST_CONTROL_CHARACTER = "manifest.control_character"
    MANIFEST_NOT_UNICODE = "manifest.not_unicode"
    MANIFEST_DUPLICATE_ID = "manifest.duplicate_id"
    # one item of a delivery
    DELIVERY_QUARANTINED = "item.delivery_quarantined"
    UNSAFE_NAME = "item.unsafe_name"
    REPEATED_NAME = "item.repeated_name"
    AMBIGUOUS_NAME = "item.ambiguous_name"
    MISSING_FILE = "item.missing_file"
    NOT_A_FILE = "item.not_a_file"
    NOT_IN_MANIFEST = "item.not_in_manifest"
    CONSENT_UNREADABLE = "item.consent_unreadable"
    # the file itself
    FILE_GONE = "media.file_gone"
    EMPTY = "media.empty"
    TOO_LARGE = "media.too_large"
    NOT_VIDEO = "media.not_video"
    NO_VIDEO_STREAM = "media.no_video_stream"
    NO_FRAMES = "media.no_frames"
    FRAMES_MISSING = "media.frames_missing"
    TRUNCATED = "media.truncated"
    OVERDECLARED_FRAMES = "media.overdeclared_frames"
    OVERDECLARED_DURATION = "media.overdeclared_duration"
    DECODE_ERRORS = "media.decode_errors"
    TOO_MANY_PIXELS = "media.too_many_pixels"
    TOO_SMALL = "media.too_small"
    TOO_MANY_FRAMES = "media.too_many_frames"
    SIZE_CHANGES = "media.size_changes"
    OUT_OF_MEMORY = "media.out_of_memory"
    TIMEOUT = "media.timeout"
    CRASHED = "media.crashed"

    def because(self, detail: str) -> str:
        """The reason as tables hold it: `code: detail`."""
        return f"{self.value}: {printable(detail)}"


def code_of(reason: str) -> str:
    """The code of a reason as tables hold it."""
    return reason.split(":", 1)[0]


def printable(text: str, limit: int = MAX_TEXT) -> str:
    """`text` without anything that a log, a table or a page could trip over: control and format characters and lone
    surrogates are written as escapes, and what is too long is cut."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
