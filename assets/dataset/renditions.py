"""Training frames: each member of a snapshot as a few small pictures, made once and kept by content.

The size of model that the home trains says which moment, size and crop (`training.data.policy`). A clip's identity is the hash
of its frames, so a rendition is found under `frames/<policy>/<clip_id>.safetensors` for ever and a second run decodes nothing.
Because a decoder may crash, frames are decoded in a child process, `python -m assets.dataset.renditions '<limits as JSON>'`:
it reads a JSON line a request and answers each with `{"rendition": <base64>}` or `{"error": <why>}`. `assets.decode.process`
bounds it.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.decode.process import Children, Limits, Unavailable, serve
from assets.reasons import DISK_FULL
from training.data.cut import cut
from training.data.policy import DataPolicy, RenditionError, choose_moment
from training.data.video import read_frames
from training.model.config import LADDER, Size

if TYPE_CHECKING:
    import numpy as np

    from assets.home import Home

COMMAND = (sys.executable, "-m", "assets.dataset.renditions")
NANO = LADDER["nano"].data
RENDER_FIELDS = ("clip_id", "start_frame", "end_frame")  # of a member, which `render` needs


def size_of(home: Home) -> str:
    """The rung of the ladder that the home's training settings name. Raises RenditionError."""
    settings = home.training
    preset = settings.get("preset")  # that of a size has its name
    default = preset if preset in LADDER else "nano"
    size = str(settings.get("codec", {}).get("size") or settings.get("size") or default)
    if size not in LADDER:
        raise RenditionError(f"no size {size!r} to cut clips for; there are {', '.join(LADDER)}")
    return size


def rung(home: Home) -> Size:
    return LADDER[size_of(home)]


def crop_and_resize(frames: np.ndarray, policy: DataPolicy = NANO) -> np.ndarray:
    """uint8 `[T, H, W, 3]` to the rendition's size: the largest centred crop of its aspect ratio, area-averaged."""
    import cv2
    import numpy as np

    height, width = frames.shape[1:3]
    target_width, target_height = policy.size(width, height)
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
    policy: DataPolicy = NANO,
    pulse: Callable[[], None] = lambda: None,
) -> bytes:
    """The safetensors file of a member: `frames` uint8 `[T, H, W, 3]`, metadata `fps` and `clip_id`.

    `source` is the member's media file, to be turned counter-clockwise by `rotation_deg` (a multiple of 90) as its
    container asks. `pulse` is called for every frame. Raises RenditionError if its frames cannot be read.
    """
    import numpy as np
    from safetensors.numpy import save

    moment = choose_moment(member["start_frame"], member["end_frame"], source_fps, policy)
    if policy.crop:
        made = np.stack(list(cut(source, moment, policy, rotation_deg, pulse)))
    else:
        frames, _ = read_frames(source, start=moment.first, end=moment.end, max_side=256, pulse=pulse)
        if len(frames) < moment.end - moment.first:
            expected = moment.end - moment.first
            raise RenditionError(
                f"clip {member['clip_id']}: {len(frames)} of {expected} frames decoded; is the store whole?"
            )
        chosen = np.rot90(frames[np.array(moment.indices) - moment.first], k=rotation_deg // 90, axes=(1, 2))
        made = crop_and_resize(chosen, policy)
    tensors = {"frames": np.ascontiguousarray(made)}
    return sorted_header(save(tensors, metadata={"clip_id": member["clip_id"], "fps": f"{moment.fps:g}"}))


def sorted_header(data: bytes) -> bytes:
    """The same safetensors file with its header's keys in order: the library writes metadata in a random one."""
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    return data[:8] + header.ljust(size) + data[8 + size :]


def key(clip_id: str, policy: DataPolicy = NANO) -> str:
    return f"frames/{policy.name}/{clip_id}.safetensors"


def keys(home: Home, clip_ids: Iterable[str]) -> list[str]:
    """Where the pictures of these clips lie that the home's size needs."""
    policy = rung(home).pictures
    return [key(clip_id, policy) for clip_id in clip_ids]


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
    members, policy = list(members), rung(home).pictures
    missing = [member for member in members if not _is_whole(home, key(member["clip_id"], policy))]
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
    return Rendered(tuple(keys(home, shown)), len(missing) - len(failed), failed)


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
    fields = {"member": {name: member[name] for name in RENDER_FIELDS}, "size": size_of(home)}
    reply = children.ask(fields | media_fields)
    if "error" in reply:
        raise RenditionError(reply["error"])
    home.store.put(key(member["clip_id"], rung(home).pictures), base64.b64decode(reply["rendition"]))


def sources(home: Home, members: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Where another process finds the members' files and what it must know to cut them (`training.data.cut.SOURCE`)."""
    columns = home.lake.read("media", columns=["item_id", "fps", "rotation_deg"]).to_pylist()
    media = {row["item_id"]: row for row in columns}
    return [
        {
            **{name: member[name] for name in RENDER_FIELDS},
            "path": str(home.store.fetch(member["media_key"])),
            "source_fps": media[member["item_id"]]["fps"] or 0.0,
            "rotation_deg": media[member["item_id"]]["rotation_deg"] or 0,
        }
        for member in members
        if member["item_id"] in media and home.store.exists(member["media_key"])
    ]


def middle_frame(home: Home, clip_id: str) -> np.ndarray:
    """uint8 `[H, W, 3]` of a rendered clip, to be shown to people."""
    from safetensors.numpy import load

    frames = load(home.store.get(key(clip_id, rung(home).pictures)))["frames"]
    return frames[len(frames) // 2]


def answer(request: dict[str, Any], limits: Limits, pulse: Callable[[], None]) -> dict[str, Any]:
    """In the child process: the result of `render`, or an ordinary failure as `error`."""
    try:
        policy = LADDER[request.pop("size", "nano")].pictures
        data = render(**request | {"source": Path(request["source"]), "policy": policy, "pulse": pulse})
        return {"rendition": base64.b64encode(data).decode()}
    except Exception as error:  # whatever a file provokes in a library is a fact about this file alone
        return {"error": f"{type(error).__name__}: {error}"[:500]}


if __name__ == "__main__":
    serve(answer)
