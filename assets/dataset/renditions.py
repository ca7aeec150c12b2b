"""Training frames: each member of a snapshot as a few small pictures, made once and kept by content.

The moment, the size and the crop are chosen here. A clip's identity is the hash of its frames, so a rendition is found under
`frames/<version>/<clip_id>.safetensors` for ever and a second run decodes nothing. Because a decoder may crash, frames are
decoded in a child process, `python -m assets.dataset.renditions '<limits as JSON>'`: it reads a JSON line a request and
answers each with `{"rendition": <base64>}` or `{"error": <why>}`. `assets.decode.process` bounds it.
"""

from __future__ import annotations

import base64
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.decode.limits import Limits
from assets.decode.process import Children, Unavailable
from assets.decode.worker import serve
from assets.reasons import DISK_FULL
from training.data.video import read_frames

if TYPE_CHECKING:
    import numpy as np

    from assets.home import Home

COMMAND = (sys.executable, "-m", "assets.dataset.renditions")
VERSION = "17f-8hz-64px-1"  # change it whenever a pixel may change

FRAMES = 17  # 4k + 1, as the causal autoencoder wants
FPS = 8.0
AREA = 64 * 64  # pixels, about
MULTIPLE = 16  # of both sides
WIDEST = 2.0  # aspect ratios beyond 2:1 either way are cropped
RENDER_FIELDS = ("clip_id", "start_frame", "end_frame")  # of a member, which `render` needs


class RenditionError(ValueError):
    """A member's pictures cannot be made."""


@dataclass(frozen=True)
class Moment:
    """Which source frames make the rendition: `indices` count from the start of the file."""

    indices: tuple[int, ...]
    fps: float

    @property
    def first(self) -> int:
        return self.indices[0]

    @property
    def end(self) -> int:
        return self.indices[-1] + 1


def choose_moment(start_frame: int, end_frame: int, source_fps: float) -> Moment:
    """The middle of the range at about 8 frames a second; fewer frames (4k + 1) if the clip has fewer.

    A clip shorter than two seconds is sampled evenly over its whole length, at the resulting rate.
    """
    available = end_frame - start_frame
    if available < 1 or not source_fps > 0:
        raise RenditionError(f"no frames between {start_frame} and {end_frame} at {source_fps} frames per second")
    count = min(FRAMES, max(5, 4 * ((available - 1) // 4) + 1))
    span = min((count - 1) * source_fps / FPS, available - 1)
    first = start_frame + (available - 1 - span) / 2
    steps = [first + span * step / (count - 1) for step in range(count)]
    indices = tuple(min(end_frame - 1, math.floor(step + 0.5)) for step in steps)
    return Moment(indices, round((count - 1) * source_fps / span, 3) if span else FPS)


def choose_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the rendition: multiples of 16, near 4096 pixels, nearest to the clip's aspect ratio."""
    aspect = min(WIDEST, max(1 / WIDEST, width / height))
    sides = range(2 * MULTIPLE, 2 * 64 + 1, MULTIPLE)
    sizes = [(w, h) for w in sides for h in sides if 0.7 <= w * h / AREA <= 1.3 and 1 / WIDEST <= w / h <= WIDEST]
    return min(sizes, key=lambda size: (abs(math.log(size[0] / size[1] / aspect)), abs(size[0] * size[1] - AREA), size))


def crop_and_resize(frames: np.ndarray) -> np.ndarray:
    """uint8 `[T, H, W, 3]` to the rendition's size: the largest centred crop of its aspect ratio, area-averaged."""
    import cv2
    import numpy as np

    height, width = frames.shape[1:3]
    target_width, target_height = choose_size(width, height)
    scale = min(width / target_width, height / target_height)
    crop_width, crop_height = max(1, round(target_width * scale)), max(1, round(target_height * scale))
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    cropped = frames[:, top : top + crop_height, left : left + crop_width]
    method = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    return np.stack([cv2.resize(frame, (target_width, target_height), interpolation=method) for frame in cropped])


def render(
    member: Mapping[str, Any],
    source: Path,
    source_fps: float,
    rotation_deg: int = 0,
    pulse: Callable[[], None] = lambda: None,
) -> bytes:
    """The safetensors file of a member: `frames` uint8 `[T, H, W, 3]`, metadata `fps` and `clip_id`.

    `source` is the member's media file, to be turned counter-clockwise by `rotation_deg` (a multiple of 90) as its
    container asks. `pulse` is called for every frame. Raises RenditionError if its frames cannot be read.
    """
    import numpy as np
    from safetensors.numpy import save

    moment = choose_moment(member["start_frame"], member["end_frame"], source_fps)
    frames, _ = read_frames(source, start=moment.first, end=moment.end, max_side=256, pulse=pulse)
    if len(frames) < moment.end - moment.first:
        expected = moment.end - moment.first
        raise RenditionError(
            f"clip {member['clip_id']}: {len(frames)} of {expected} frames decoded; is the store whole?"
        )
    chosen = np.rot90(frames[np.array(moment.indices) - moment.first], k=rotation_deg // 90, axes=(1, 2))
    tensors = {"frames": np.ascontiguousarray(crop_and_resize(chosen))}
    return sorted_header(save(tensors, metadata={"clip_id": member["clip_id"], "fps": f"{moment.fps:g}"}))


def sorted_header(data: bytes) -> bytes:
    """The same safetensors file with its header's keys in order: the library writes metadata in a random one."""
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    return data[:8] + header.ljust(size) + data[8 + size :]


def key(clip_id: str) -> str:
    return f"frames/{VERSION}/{clip_id}.safetensors"


@dataclass(frozen=True)
class Rendered:
    """Store keys of the members that can be shown, in order, how many were made now, and why the others cannot be."""

    keys: tuple[str, ...]
    made: int
    failed: Mapping[str, str]  # by clip id


def render_all(home: Home, members: Iterable[Mapping[str, Any]]) -> Rendered:
    """Make what is missing or torn, keep what is whole. A member whose pictures cannot be made holds up no other.

    Raises what is not a clip's fault: RenditionError if none of several can be shown, OSError if a disk is full, Unavailable.
    """
    members = list(members)
    missing = [member for member in members if not _is_whole(home, key(member["clip_id"]))]
    failed: dict[str, str] = {}
    if missing:
        columns = home.lake.read("media", columns=["item_id", "fps", "rotation_deg"]).to_pylist()
        media = {row["item_id"]: row for row in columns}
        with Children(COMMAND, Limits()) as children:
            for member in missing:
                try:
                    _render_one(home, member, media, children)
                except Unavailable:
                    raise
                except Exception as error:  # whatever a decoder or a store makes of a file
                    if isinstance(error, OSError) and error.errno in DISK_FULL:
                        raise
                    failed[member["clip_id"]] = f"{type(error).__name__}: {error}"[:500]
    if len(failed) == len(members) > 1:
        clip_id, why = next(iter(failed.items()))
        raise RenditionError(f"none of {len(members)} clips can be shown; the first is {clip_id[:16]}: {why}")
    shown = (member["clip_id"] for member in members if member["clip_id"] not in failed)
    return Rendered(tuple(map(key, shown)), len(missing) - len(failed), failed)


def _is_whole(home: Home, name: str) -> bool:
    """Whether the store has the file at the length that its header states: a torn one is made anew."""
    from safetensors import SafetensorError, safe_open

    if not home.store.exists(name):
        return False
    try:
        with safe_open(home.store.fetch(name), framework="numpy") as file:
            return list(file.keys()) == ["frames"]
    except (SafetensorError, OSError):
        return False


def _render_one(
    home: Home, member: Mapping[str, Any], media: Mapping[str, Mapping[str, Any]], children: Children
) -> None:
    if member["item_id"] not in media:
        raise RenditionError(f"clip {member['clip_id']}: item {member['item_id']} is not in the lake's media")
    row, source = media[member["item_id"]], home.store.fetch(member["media_key"])
    media_fields = {"source": str(source), "source_fps": row["fps"] or 0.0, "rotation_deg": row["rotation_deg"] or 0}
    reply = children.ask({"member": {name: member[name] for name in RENDER_FIELDS}, **media_fields})
    if "error" in reply:
        raise RenditionError(reply["error"])
    home.store.put(key(member["clip_id"]), base64.b64decode(reply["rendition"]))


def middle_frame(home: Home, clip_id: str) -> np.ndarray:
    """uint8 `[H, W, 3]` of a rendered clip, to be shown to people."""
    from safetensors.numpy import load

    frames = load(home.store.get(key(clip_id)))["frames"]
    return frames[len(frames) // 2]


def answer(request: dict[str, Any], limits: Limits, pulse: Callable[[], None]) -> dict[str, Any]:
    """In the child process: the result of `render`, or an ordinary failure as `error`."""
    try:
        data = render(**request | {"source": Path(request["source"]), "pulse": pulse})
        return {"rendition": base64.b64encode(data).decode()}
    except Exception as error:  # whatever a file provokes in a library is a fact about this file alone
        return {"error": f"{type(error).__name__}: {error}"[:500]}


if __name__ == "__main__":
    serve(answer)
