"""A clip's pictures cut from its file one by one, so that a long clip in many pixels takes no more memory than a short one.

Scaling happens where frames are decoded, so no more than one frame of the file is there at its full size. `python -m
training.data.cut '<request as JSON>'` does it in a process of its own, for a file may crash a decoder: it writes a JSON line
that says what follows, and then the pictures as plain bytes. `Stream` is the other end.
"""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from training import process
from training.data.policy import DataPolicy, Moment, Portion, RenditionError, choose_moment
from training.data.video import VideoError, decoded
from training.model.config import LADDER

SOURCE = ("clip_id", "path", "start_frame", "end_frame", "source_fps", "rotation_deg")  # what is known of a clip's file
MEMORY_BYTES = 4 << 30  # of a decoding process
STALL_S = 300.0  # without a picture; then the file is given up
AHEAD = 3  # processes that have opened their file and found their first picture


def cut(
    source: Path,
    moment: Moment,
    policy: DataPolicy,
    rotation_deg: int = 0,
    pulse: Callable[[], None] = lambda: None,
) -> Iterator[np.ndarray]:
    """The pictures of a moment, uint8 [H, W, 3] each, turned counter-clockwise by a multiple of 90 degrees.

    The largest centred part of the bucket's aspect ratio is scaled to it, by area where it shrinks. Raises VideoError for a
    file that cannot be read and RenditionError for one that ends too soon.
    """
    wanted, turned = deque(moment.indices), rotation_deg % 180 != 0
    for index, (frame, _) in enumerate(decoded(source, moment.first, moment.end, pulse), start=moment.first):
        if index != wanted[0]:
            continue
        portion = Portion.of(*((frame.height, frame.width) if turned else (frame.width, frame.height)), policy)
        (width, height), (across, down) = (s[::-1] if turned else s for s in (portion.scaled, portion.crop))
        method = "AREA" if width < frame.width else "BILINEAR"
        scaled = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation=method)
        top, left = (height - down) // 2, (width - across) // 2
        picture = np.rot90(scaled[top : top + down, left : left + across], k=rotation_deg // 90)
        while wanted and wanted[0] == index:
            wanted.popleft()
            yield picture
    if wanted:
        raise RenditionError(f"{source}: ends before frame {wanted[0]}; is the store whole?")


class Stream:
    """A clip that another process decodes. Reading raises VideoError where that fails, crashes or hangs."""

    def __init__(self, row: Mapping[str, Any], size: str) -> None:
        self.row = row
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        command = [sys.executable, "-m", "training.data.cut", json.dumps({**row, "size": size})]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._errors)
        assert self._process.stdout is not None
        self._pipe = self._process.stdout.fileno()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def open(self) -> dict[str, Any]:
        """`fps`, `width`, `height` and number of `frames`."""
        line = b""
        while not line.endswith(b"\n"):
            line += self._read(1)
        self._head: dict[str, Any] = json.loads(line)
        return self._head

    def chunks(self, frames: int) -> Iterator[np.ndarray]:
        """The pictures uint8 [n, H, W, 3] in parts of `frames`, the first of one more, the last of what is left."""
        left, shape = self._head["frames"], (self._head["height"], self._head["width"], 3)
        count = frames + 1
        while left:
            count = min(count, left)
            yield np.frombuffer(self._read(count * shape[0] * shape[1] * 3), np.uint8).reshape(count, *shape)
            left, count = left - count, frames

    def _read(self, size: int) -> bytearray:
        data, at = bytearray(size), 0
        while at < size:
            ready, _, _ = select.select([self._pipe], [], [], STALL_S)
            part = os.read(self._pipe, min(size - at, 1 << 20)) if ready else b""
            if not part:
                raise VideoError(f"clip {self.row['clip_id']}: {self._why(bool(ready))}")
            data[at : at + len(part)] = part
            at += len(part)
        return data

    def _why(self, ended: bool) -> str:
        if not ended:
            return f"no picture for {STALL_S:.0f} s"
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"its decoder ended with {self._process.returncode}" + (f": {lines[-1]}" if lines else "")


def streams(rows: Sequence[Mapping[str, Any]], size: str) -> Iterator[Stream]:
    """A Stream of each clip in turn, whose successors are opened already. It is closed when the next one is asked for."""
    waiting, opened = deque(rows), deque[Stream]()
    try:
        while waiting or opened:
            while waiting and len(opened) < AHEAD:
                opened.append(Stream(waiting.popleft(), size))
            with opened.popleft() as stream:
                yield stream
    finally:
        for stream in opened:
            with stream:
                pass


def main() -> int:
    request = json.loads(sys.argv[-1])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    policy, out = LADDER[request["size"]].data, sys.stdout.buffer
    try:
        moment = choose_moment(request["start_frame"], request["end_frame"], request["source_fps"], policy)
        for index, picture in enumerate(cut(Path(request["path"]), moment, policy, request["rotation_deg"])):
            if index == 0:
                height, width, _ = picture.shape
                head = {"fps": moment.fps, "width": width, "height": height, "frames": len(moment.indices)}
                out.write(json.dumps(head).encode() + b"\n")
            out.write(picture.tobytes())
        out.flush()
    except (RenditionError, VideoError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    process.hold_on()
    sys.exit(main())
