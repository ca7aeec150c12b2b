"""What makes two clips the same clip: digests over decoded pictures.

The digest of a frame covers its native planes as the decoder gives them (before any rotation or conversion), row by
row without padding, plane after plane, with the pixel format and size in front. A range's digest is the SHA-256 over
the digests of its frames in order, so a clip that covers its whole file has the identity `media.frames_sha256`, and
renaming, re-muxing or cutting elsewhere changes nothing. Whoever has the digests of a file's frames can name any clip
of it without its pictures.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av

IDENTITY_VERSION = "1"
DIGEST_BYTES = 32  # of one frame

# "full range" is metadata of the same planes: re-muxing may move it between the bitstream and the container
_FULL_RANGE = {"yuvj420p": "yuv420p", "yuvj422p": "yuv422p", "yuvj444p": "yuv444p", "yuvj440p": "yuv440p"}


def frame_digest(frame: av.VideoFrame) -> bytes:
    """32 bytes that name the pictures of `frame`.

    Formats with sub-byte or palette components have no plain rows; they are taken as RGB of 8 bits.
    """
    if any(component.bits % 8 for component in frame.format.components) and not _padded_to_bytes(frame):
        frame = frame.reformat(format="rgb24")
    name = _FULL_RANGE.get(frame.format.name, frame.format.name)
    digest = hashlib.sha256(f"rushes.frame/{IDENTITY_VERSION} {name} {frame.width}x{frame.height}\n".encode())
    for index, plane in enumerate(frame.planes):
        row = _row_bytes(frame, index)
        data = memoryview(plane)
        if plane.line_size == row:
            digest.update(data[: row * plane.height])
        else:
            for top in range(0, plane.height * plane.line_size, plane.line_size):
                digest.update(data[top : top + row])
    return digest.digest()


def range_digest(frame_digests: bytes | bytearray) -> str:
    """The identity of consecutive frames, in hexadecimal, from their digests one after the other."""
    return hashlib.sha256(f"rushes.range/{IDENTITY_VERSION}\n".encode() + frame_digests).hexdigest()


def _padded_to_bytes(frame: av.VideoFrame) -> bool:
    """Planar formats hold components of 9 to 15 bits in two bytes each."""
    components = frame.format.components
    return frame.format.is_planar and all(component.bits >= 8 for component in components)


def _row_bytes(frame: av.VideoFrame, plane: int) -> int:
    """Bytes of a row of `plane` that hold pictures: all its components, each in whole bytes."""
    parts = [component for component in frame.format.components if component.plane == plane]
    return sum(component.width * -(-component.bits // 8) for component in parts)
