"""One decode pass over a media file: small pictures and timestamps, one frame at a time.

What belongs here: scaling and timing. What does not: any measurement. Nothing seeks, and one frame is held at a time,
so memory does not grow with the file's length. All pictures come from the decoder's own planes, and no frame is
converted whole. Every frame gets a preview and a thumbnail from bilinear samples, which touch few of its pixels; the
frames that are sampled are halved in boxes (a fortieth of the cost of area averaging by a fraction) before
the last bilinear step, so that no artefact passes for detail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from assets.decode.decoder import is_of, open_container, video_stream
from assets.decode.identity import frame_digest

if TYPE_CHECKING:
    import av
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

    from assets.signals.sound import Sound

SMALL_SIDE = 256  # pixels on the long side of the frames that every scorer shares
LARGE_SIDE = 640  # for the few frames that faces and letters are looked for in: at 256 they are too small to be seen
PREVIEW_SIDE = 128
THUMB = (64, 36)  # width and height whatever the aspect ratio: only differences between thumbnails matter
PLANAR = {"yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p"}
BT709, BT601, FULL_RANGE = 1, (5, 6), 2  # AVColorSpace and AVColorRange
HD_HEIGHT = 720  # pixels; from there on a stream that does not name its colour matrix is taken for BT.709


@dataclass(frozen=True)
class Frame:
    """One decoded picture, upright, in full range.

    `preview` is its luma, uint8 [h, w] with `PREVIEW_SIDE` on the long side; `thumb` is uint8 [36, 64, 3]: luma, blue and
    red difference. `picture` and what is made from it is good until the next frame is asked for.
    """

    index: int
    pts_s: float
    preview: np.ndarray
    thumb: np.ndarray
    samples: np.ndarray  # of luma, as it is stored
    picture: av.VideoFrame
    planes: Planes

    def digest(self) -> bytes:
        """What names the picture, whatever file it is in."""
        return frame_digest(self.picture)

    def gray(self) -> np.ndarray:
        """Luma, uint8 [h, w] with `SMALL_SIDE` on the long side: the samples that `preview` is the mean of.

        It costs next to nothing, and is rougher than a view's.
        """
        return _turned(self.planes.stretched(self.samples), self.picture.rotation)

    def luma(self, side: int) -> np.ndarray:
        """The second of `views`."""
        return _turned(self.planes.luma(side), self.picture.rotation)

    def views(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        """In colour, uint8 [h, w, 3], and luma alone, uint8 [h, w]; `side` on the long side, but never scaled up."""
        rgb, luma = self.planes.views(side)
        return _turned(rgb, self.picture.rotation), _turned(luma, self.picture.rotation)

    def thumb_rgb(self) -> np.ndarray:
        """The thumbnail in colour, uint8 [36, 64, 3]."""
        import cv2

        return cv2.transform(self.thumb, _to_rgb(is_bt709(self.picture)))

    def native_luma(self) -> np.ndarray | None:
        """Luma as it is stored: every pixel, not turned, its range not stretched; None where it is not a plane of 8 bits.

        Read-only.
        """
        return self.planes.stored[0] if self.picture.format.name in PLANAR else None


def fitted(width: int, height: int, side: int) -> tuple[int, int]:
    """(width, height) scaled to `side` on the long side, no side below 2 pixels."""
    scale = side / max(width, height)
    return max(2, round(width * scale)), max(2, round(height * scale))


class Frames:
    """Turns decoded pictures of one stream, given in order, into frames.

    Timestamps start at 0; a picture without one (or one that does not advance) is placed a nominal frame period after
    its predecessor.
    """

    def __init__(self, rate: float) -> None:
        self._period = 1 / rate
        self.start_s: float | None = None  # of the first picture, on the container's clock
        self._previous = -self._period
        self._count = 0

    def next(self, picture: av.VideoFrame) -> Frame:
        pts = None if picture.time is None else float(picture.time)
        if self.start_s is None:
            self.start_s = pts
        now = self._previous + self._period
        if pts is not None and self.start_s is not None and pts - self.start_s > self._previous:
            now = pts - self.start_s
        rotation = picture.rotation
        planes = Planes(picture)
        samples, preview, thumb = planes.preview(THUMB[::-1] if round(rotation / 90) % 2 else THUMB)
        frame = Frame(self._count, now, _turned(preview, rotation), _turned(thumb, rotation), samples, picture, planes)
        self._previous, self._count = now, self._count + 1
        return frame


class Streams:
    """The first stream of pictures and the first of sound of an opened file, decoded by whoever demuxes it."""

    def __init__(
        self,
        container: InputContainer,
        video: VideoStream,
        open_sound: Callable[[AudioStream], Sound | None] | None = None,
    ) -> None:
        """`open_sound` is given the first stream of sound that has a decoder; what it returns gets its packets."""
        self._frames = Frames(float(video.average_rate or video.guessed_rate or 25))
        decodable = (stream for stream in container.streams.audio if stream.codec_context is not None)
        audio = next(decodable, None) if open_sound else None
        self._sound = open_sound(audio) if open_sound and audio else None
        self.audio = audio if self._sound else None  # the stream that is metered

    def frame(self, picture: av.VideoFrame) -> Frame:
        frame = self._frames.next(picture)
        if self._sound and frame.index == 0:
            self._sound.start_s = self._frames.start_s or 0.0
        return frame

    def add_packet(self, packet: av.Packet) -> None:
        """A packet of any stream but the pictures'."""
        if self._sound and self.audio and is_of(packet, self.audio):
            self._sound.add(packet)


def read(
    path: Path, open_sound: Callable[[AudioStream], Sound | None] | None = None, max_pixels: int | None = None
) -> Iterator[Frame]:
    """The frames of the first video stream, in presentation order; `open_sound` as in `Streams`, from the same demuxing.

    Raises av.error.FFmpegError or NoVideoStream where the file cannot be opened or its pictures do not decode.
    """
    from av import VideoFrame

    with open_container(path, max_pixels) as container:
        video = video_stream(container, max_pixels)
        streams = Streams(container, video, open_sound)
        for packet in container.demux(video, *([streams.audio] if streams.audio else [])):
            if not is_of(packet, video):
                streams.add_packet(packet)
                continue
            for picture in packet.decode():
                assert isinstance(picture, VideoFrame), "a packet of a stream of pictures"
                yield streams.frame(picture)


class Planes:
    """The picture's luma and chroma, without a copy where they are stored as planes of 8 bits."""

    def __init__(self, picture: av.VideoFrame) -> None:
        self.size = picture.width, picture.height
        self.full_range = picture.color_range == FULL_RANGE or picture.format.name.startswith("yuvj")
        self.picture = picture
        if picture.format.name not in PLANAR:  # deep, packed or paletted: swscale knows them all
            width, height = fitted(*self.size, min(4 * SMALL_SIDE, max(self.size)))
            picture = picture.reformat(width + width % 2, height + height % 2, "yuv420p", interpolation="AREA")
            self.full_range = False
        self.stored = [
            np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]  # type: ignore[call-overload]
            for plane in picture.planes
        ]

    def luma(self, side: int) -> np.ndarray:
        return self.stretched(shrunk(self.stored[0], *fitted(*self.size, min(side, max(self.size)))))

    def stretched(self, luma: np.ndarray) -> np.ndarray:
        """In full range."""
        import cv2

        return luma if self.full_range else cv2.LUT(luma, _STRETCH_LUMA)

    def preview(self, thumb: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(bilinear samples of luma, their means of `PREVIEW_SIDE`, luma and chroma of size `thumb`)."""
        import cv2

        width, height = fitted(*self.size, min(PREVIEW_SIDE, max(self.size)))
        samples = cv2.resize(self.stored[0], (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
        preview = self.stretched(cv2.resize(samples, (width, height), interpolation=cv2.INTER_AREA))
        chroma = [cv2.resize(plane, thumb, interpolation=cv2.INTER_LINEAR) for plane in self.stored[1:]]
        return samples, preview, self._merged(preview, chroma, *thumb)

    def views(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        import cv2

        luma = self.luma(side)
        height, width = luma.shape
        chroma = [shrunk(plane, width, height) for plane in self.stored[1:]]
        return cv2.transform(self._merged(luma, chroma, width, height), _to_rgb(is_bt709(self.picture))), luma

    def _merged(self, luma: np.ndarray, chroma: Sequence[np.ndarray], width: int, height: int) -> np.ndarray:
        import cv2

        merged = cv2.merge([shrunk(luma, width, height), *chroma])
        return merged if self.full_range else cv2.LUT(merged, _STRETCH_CHROMA_ALONE)


def is_bt709(picture: av.VideoFrame) -> bool:
    """Which of the two matrices its colours were made with."""
    unnamed = picture.colorspace not in (BT709, *BT601)
    return picture.colorspace == BT709 or (unnamed and picture.height >= HD_HEIGHT)


def shrunk(plane: np.ndarray, width: int, height: int) -> np.ndarray:
    """`plane` at `width` x `height`: halved by boxes while that leaves enough, then bilinear."""
    import cv2

    while plane.shape[0] >= 2 * height and plane.shape[1] >= 2 * width:
        rows, columns = plane.shape[0] // 2, plane.shape[1] // 2
        plane = cv2.resize(plane[: 2 * rows, : 2 * columns], (columns, rows), interpolation=cv2.INTER_AREA)
    if plane.shape == (height, width):
        return plane
    return cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)


def _turned(picture: np.ndarray, rotation: float) -> np.ndarray:
    """Upright, as the rotation metadata asks."""
    turns = round(rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


def _to_rgb(bt709: bool) -> np.ndarray:
    """[3, 4]: full-range luma and chroma (8 bits, chroma about 128) to RGB."""
    red, blue = (0.2126, 0.0722) if bt709 else (0.299, 0.114)
    green = 1 - red - blue
    from_cb = np.array([0, -2 * blue * (1 - blue) / green, 2 * (1 - blue)])
    from_cr = np.array([2 * (1 - red), -2 * red * (1 - red) / green, 0])
    return np.stack([np.ones(3), from_cb, from_cr, -128 * (from_cb + from_cr)], axis=1)


_LEVELS = np.arange(256)
_STRETCH_LUMA = np.clip(np.rint((_LEVELS - 16) * 255 / 219), 0, 255).astype(np.uint8)
_STRETCH_CHROMA = np.clip(np.rint((_LEVELS - 128) * 255 / 224 + 128), 0, 255).astype(np.uint8)
_STRETCH_CHROMA_ALONE = np.stack([_LEVELS.astype(np.uint8), _STRETCH_CHROMA, _STRETCH_CHROMA], axis=1)[None]
