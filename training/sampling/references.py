"""What a person gives a video to start from, as latents and a mask: pictures and videos, laid on the latent's frames.

    first     image-to-video: the picture is the first frame          after   extension: the video's end is the start
    last      the picture is the last frame                           before  extension backward: its start is the end
    keyframe  the picture at some time                                source  video-to-video: noised by a strength

They combine: first and last, keyframes between two videos. All but `source` are given in the sense of `conditioning`:
they come back as they are, up to the codec. A picture elsewhere than at the start stands still for one latent frame,
because a latent frame holds several pictures.

Shape suffixes: T H W pictures and pixels; C channels, t h w latent frames, rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from training import device
from training.data.clips import FrameClips
from training.data.video import read_frames
from training.model.codec import to_unit
from training.model.patches import VideoCodec

PICTURES, VIDEOS = ("first", "last", "keyframe"), ("after", "before", "source")
ROLES = (*PICTURES, *VIDEOS)


class ReferencesError(ValueError):
    """Pictures or videos that cannot be given. Says which, and what would do."""


@dataclass(frozen=True)
class Reference:
    """One picture or video and its part. `name` is how messages call it; pictures uint8 [T, H, W, 3]."""

    role: str
    frames_THWC: Tensor
    fps: float
    name: str = "reference"
    seconds: float | None = None  # of a keyframe: when; of `after` and `before`: how much of the video, None: half

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ReferencesError(f"{self.name}: {self.role!r} is none of {', '.join(ROLES)}")
        if self.role in PICTURES and len(self.frames_THWC) != 1:
            raise ReferencesError(f"{self.name}: {self.role} takes a picture, this has {len(self.frames_THWC)} frames")
        if self.role == "keyframe" and self.seconds is None:
            raise ReferencesError(f"{self.name}: a keyframe needs its time in seconds")


@dataclass(frozen=True)
class ReferenceLatents:
    """Normalised latent [C, t, h, w]; `given_t` says which of its frames are given, `sourced` whether the rest is a source."""

    z_Cthw: Tensor
    given_t: Tensor
    sourced: bool


def read_reference(entry: Mapping[Any, Any]) -> Reference:
    """A configuration's {"role", "path", "seconds"}; the path is a picture, a video, or a clip's frames (safetensors).

    Of a video in a picture's place the end that touches what is made is taken: its last frame for `first`, else its
    first. Raises ReferencesError, and VideoError or DataError for a file that cannot be read.
    """
    role, path = entry["role"], Path(entry["path"])
    if path.suffix == ".safetensors":
        frames_THWC, fps = FrameClips(path.parent, [{"clip_id": path.stem}]).read(path.stem)
    else:
        frames, fps = read_frames(path)
        frames_THWC = torch.from_numpy(frames)
    if role in PICTURES:
        frames_THWC = frames_THWC[-1:] if role == "first" else frames_THWC[:1]
    return Reference(role, frames_THWC, fps, path.name, entry.get("seconds"))


def lay(
    codec: VideoCodec, references: Sequence[Reference], frames: int, size: tuple[int, int], fps: float
) -> ReferenceLatents:
    """The references laid on a video of `frames` frames of `size` (width, height) at `fps`. Raises ReferencesError."""
    stride, (width, height) = codec.config.stride, size
    t = (frames - 1) // stride + 1
    cells = (codec.config.channels, t, height // codec.config.patch, width // codec.config.patch)
    z_Cthw, given_t, sourced = torch.zeros(cells), torch.zeros(t, dtype=torch.bool), False
    for reference in sorted(references, key=lambda r: r.role != "source"):
        pictures = _fitted(reference, size, fps)
        if reference.role == "source":
            if sourced:
                raise ReferencesError(f"{reference.name}: one source is enough")
            z_Cthw, sourced = _encode(codec, _source(reference, pictures, frames, fps)), True
            continue
        at, part = _part(codec, reference, pictures, t, fps)
        place = slice(at, at + part.shape[1])
        if bool(given_t[place].any()):
            raise ReferencesError(f"{reference.name}: that part of the video is given already")
        z_Cthw[:, place], given_t[place] = part, True
    if bool(given_t.all()):
        raise ReferencesError(f"{', '.join(r.name for r in references)}: everything is given, nothing is left to make")
    return ReferenceLatents(z_Cthw, given_t, sourced)


def _part(codec: VideoCodec, reference: Reference, pictures_THWC: Tensor, t: int, fps: float) -> tuple[int, Tensor]:
    """The first latent frame that a reference gives, and what it gives from there on [C, t', h, w]."""
    stride, role = codec.config.stride, reference.role
    if role in PICTURES:
        at = {"first": 0, "last": t - 1}.get(role)
        at = _latent_frame(reference, t, stride, fps) if at is None else at
        if at == 0:
            return 0, _encode(codec, pictures_THWC)
        return at, _encode(codec, pictures_THWC.repeat(1 + stride, 1, 1, 1))[:, 1:]
    # The latent frames that are given: asked for, or fewer than half; the picture before the tubes is the first's own.
    half, seconds = (t - 1) // 2, reference.seconds
    wanted = max(1, half if seconds is None else round(seconds * fps / stride) + (role == "after"))
    available = (len(pictures_THWC) - 1) // stride
    if role == "after":
        tubes = min(wanted - 1, available, t - 2)
        return 0, _encode(codec, pictures_THWC[len(pictures_THWC) - max(0, tubes) * stride - 1 :])
    tubes = min(wanted, available, t - 1)
    if tubes < 1:
        raise ReferencesError(
            f"{reference.name}: what a video leads up to takes {stride + 1} frames at {fps:g} a second, "
            f"there are {len(pictures_THWC)}"
        )
    return t - tubes, _encode(codec, pictures_THWC[: tubes * stride + 1])[:, 1:]


def _latent_frame(keyframe: Reference, t: int, stride: int, fps: float) -> int:
    """Where the latent frame is that holds the picture at the keyframe's time."""
    name, seconds = keyframe.name, keyframe.seconds or 0.0
    picture = round(seconds * fps)
    at = 0 if picture == 0 else (picture - 1) // stride + 1
    if not 0 <= at < t:
        longest = (t - 1) * stride / fps
        raise ReferencesError(f"{name}: a keyframe at {seconds:g} s is outside the video's 0 to {longest:g} s")
    return at


def _source(reference: Reference, pictures_THWC: Tensor, frames: int, fps: float) -> Tensor:
    """The first `frames` of a source; a picture is repeated. Raises ReferencesError for a video that is too short."""
    if len(pictures_THWC) == 1:
        return pictures_THWC.expand(frames, -1, -1, -1)
    if len(pictures_THWC) < frames:
        raise ReferencesError(
            f"{reference.name}: {len(pictures_THWC) / fps:.3g} s of source for {frames / fps:.3g} s of video"
        )
    return pictures_THWC[:frames]


def _fitted(reference: Reference, size: tuple[int, int], fps: float) -> Tensor:
    """At `fps`, the largest centred part of the size's aspect ratio, resized: uint8 [T, height, width, 3]."""
    frames_THWC, (width, height) = reference.frames_THWC, size
    if len(frames_THWC) > 1 and reference.fps > 0 and reference.fps != fps:
        count = max(1, int((len(frames_THWC) - 1) * fps / reference.fps + 1e-6) + 1)
        frames_THWC = frames_THWC[
            (torch.arange(count) * reference.fps / fps).round().long().clamp_max(len(frames_THWC) - 1)
        ]
    own_height, own_width = frames_THWC.shape[1:3]
    scale = min(own_width / width, own_height / height)
    part_width, part_height = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (own_width - part_width) // 2, (own_height - part_height) // 2
    frames_THWC = frames_THWC[:, top : top + part_height, left : left + part_width]
    if (part_width, part_height) == size:
        return frames_THWC
    pictures = frames_THWC.permute(0, 3, 1, 2).float()
    resized = F.interpolate(pictures, (height, width), mode="bilinear", antialias=True, align_corners=False)
    return resized.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1)


@torch.no_grad()
def _encode(codec: VideoCodec, pictures_THWC: Tensor) -> Tensor:
    return codec.encode(to_unit(pictures_THWC.to(device.of(codec)))[None])[0].cpu()
