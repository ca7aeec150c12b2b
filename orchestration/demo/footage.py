"""Clips cut out of the fetched footage: which frames, which part of the picture, what is in them, and their encoding.

Every range below was watched. Identifiable people are in the interview and nowhere else, and the sample world delivers
that one to be blocked. Places and times of capture are invented by the sample world's contributors.
Decoding and encoding use one thread each, so the same footage gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.demo.fetch import PACKAGES
from training.data.video import REPEATABLE

if TYPE_CHECKING:
    import av.container
    import av.filter


@dataclass(frozen=True)
class Cut:
    """Frames `start` to `end` (exclusive) of a source, cropped and scaled.

    `crop` is (x, y, width, height) in shares of the picture; the window moves to `to` (x, y) by the last frame.
    """

    name: str
    source: str  # file below vendor/footage
    start: int
    end: int
    size: tuple[int, int]  # of the result: width, height, both even
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    to: tuple[float, float] | None = None
    fps: int = 30
    identifiable: int = 0  # people who could be recognised: what an attentive reviewer counts

    @property
    def length_s(self) -> float:
        return round((self.end - self.start) / self.fps, 3)


_SNOW, _BIKES, _CITY, _PARK, _CREW, _VOLCANO = (
    "snow.mp4", "bikes.mp4", "city.mpg", "park.mp4", "crew.mp4", "volcano.mp4",
)  # fmt: skip
_HD, _WIDE, _SMALL = (1280, 720), (864, 486), (384, 216)
_THIRD = 1 / 3

CUTS: dict[str, Cut] = {
    cut.name: cut
    for cut in (
        # skyscrapers at night; frame 115 is a cut
        Cut("city-towers", _CITY, 0, 190, (704, 396), fps=25),
        Cut("city-facade", _CITY, 0, 110, _SMALL, (0.0, 0.10, 0.5, 0.5), fps=25),
        Cut("city-curve", _CITY, 0, 110, _SMALL, (0.5, 0.05, 0.5, 0.5), fps=25),
        Cut("city-offices", _CITY, 10, 112, _SMALL, (0.22, 0.45, 0.5, 0.5), fps=25),
        Cut("city-roof", _CITY, 118, 190, _SMALL, (0.45, 0.0, 0.5, 0.5), fps=25),
        Cut("city-twins", _CITY, 118, 190, _SMALL, (0.05, 0.45, 0.5, 0.5), fps=25),
        Cut("city-sky", _CITY, 118, 190, _SMALL, (0.0, 0.15, 0.5, 0.5), (0.1, 0.15), fps=25),
        Cut("city-edge", _CITY, 118, 190, _SMALL, (0.5, 0.5, 0.5, 0.5), fps=25),
        # a street by day: parked bicycles, traffic, the legs of someone walking by
        Cut("street-crossing", _BIKES, 138, 186, (640, 272), fps=25),
        Cut("street-bicycle", _BIKES, 188, 241, (640, 272), fps=25),
        # an eruption by day, one drone shot of 20 s
        Cut("volcano-4k", _VOLCANO, 0, 60, (3840, 2160)),
        Cut("volcano-crater", _VOLCANO, 60, 135, _HD, (0.32, 0.12, _THIRD, _THIRD)),
        Cut("volcano-river", _VOLCANO, 120, 195, _HD, (0.16, 0.55, _THIRD, _THIRD)),
        Cut("volcano-smoke", _VOLCANO, 90, 165, _HD, (0.02, 0.0, _THIRD, _THIRD)),
        Cut("volcano-hills", _VOLCANO, 0, 75, _WIDE, (0.62, 0.04, _THIRD, _THIRD)),
        Cut("volcano-plain", _VOLCANO, 150, 225, _WIDE, (0.62, 0.6, _THIRD, _THIRD)),
        Cut("volcano-rock", _VOLCANO, 60, 135, _WIDE, (0.36, 0.66, _THIRD, _THIRD)),
        Cut("volcano-flyby", _VOLCANO, 0, 120, _WIDE, (0.0, 0.25, 0.45, 0.45), (0.5, 0.25)),
        Cut("volcano-fountain", _VOLCANO, 165, 225, (1920, 1080), (0.2, 0.1, 0.6, 0.6)),
        Cut("volcano-column", _VOLCANO, 0, 75, (540, 960), (0.32, 0.02, 0.1875, 0.5926)),
        Cut("volcano-ridge", _VOLCANO, 120, 195, _WIDE, (0.66, 0.3, 0.3, 0.3)),
        Cut("volcano-slope", _VOLCANO, 30, 105, _WIDE, (0.0, 0.42, 0.3, 0.3)),
        Cut("volcano-ash", _VOLCANO, 150, 210, _WIDE, (0.2, 0.3, 0.25, 0.25)),
        # an opossum on a snowboard; bystanders are outside the chosen frames
        Cut("snow-ride", _SNOW, 768, 866, _WIDE),
        Cut("snow-portrait", _SNOW, 872, 936, _WIDE),
        Cut("snow-board", _SNOW, 1122, 1198, _WIDE, (0.22, 0.12, 0.78, 0.78)),
        Cut("snow-sweater", _SNOW, 606, 676, (480, 480), (0.15, 0.1, 0.4219, 0.75)),
        Cut("snow-lodge", _SNOW, 770, 860, _WIDE, (0.0, 0.0, 0.5, 0.5)),
        # a park at sunset; the frame is cut so that the athlete is never in it
        Cut("park-sun", _PARK, 0, 120, _WIDE, (0.52, 0.02, 0.44, 0.44), (0.54, 0.04)),
        Cut("park-houses", _PARK, 0, 120, _WIDE, (0.0, 0.13, 0.28, 0.28), (0.02, 0.15)),
        Cut("park-hedge", _PARK, 60, 150, _WIDE, (0.56, 0.16, 0.3, 0.3)),
        # a news short, without its band of captions
        Cut("crew-glass", _CREW, 495, 561, (384, 192), (0.0, 0.0, 0.9, 0.8), fps=15),
        Cut("crew-interview", _CREW, 243, 309, (384, 192), (0.0, 0.0, 0.9, 0.8), fps=15, identifiable=1),
    )
}


def source_of(cut: Cut) -> dict[str, str]:
    """Title and licence of the footage a cut comes from, as a delivery declares them."""
    for package in PACKAGES:
        if any(member.target == f"footage/{cut.source}" for member in package.members):
            return {"name": f"{package.what} ({package.pin}, {cut.source})", "licence": package.licence}
    raise KeyError(f"no package brings {cut.source}")


def make_clips(vendor: Path, cuts: Iterable[Cut], into: Path, done: Callable[[str], None]) -> dict[str, Path]:
    """Encode the cuts as `into/<name>.mp4`, decoding every source once; calls `done` with each finished name."""
    wanted = list(cuts)
    for source in sorted({cut.source for cut in wanted}):
        cuts_of_source = [cut for cut in wanted if cut.source == source]
        _cut_source(vendor / "footage" / source, cuts_of_source, into)
        for cut in cuts_of_source:
            done(cut.name)
    return {cut.name: into / f"{cut.name}.mp4" for cut in wanted}


def _cut_source(path: Path, cuts: list[Cut], into: Path) -> None:
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        writers: dict[str, _Writer] = {}
        last = max(cut.end for cut in cuts)
        for index, frame in enumerate(container.decode(stream)):
            if index >= last:
                break
            for cut in cuts:
                if cut.start <= index < cut.end:
                    writer = writers.get(cut.name) or writers.setdefault(cut.name, _Writer(cut, frame, into))
                    writer.add(frame)
                    if index == cut.end - 1:
                        writer.close()


class _Writer:
    """One clip being encoded: crop and scale in libavfilter, then H.264 in a faststart MP4."""

    def __init__(self, cut: Cut, first: av.VideoFrame, into: Path) -> None:
        import av
        import av.filter

        self.count, self.cut = 0, cut
        options = {"fflags": "+bitexact", "movflags": "+faststart"}
        self.container = av.open(str(into / f"{cut.name}.mp4"), "w", format="mp4", options=options)
        self.stream = self.container.add_stream("libx264", rate=cut.fps)
        self.stream.width, self.stream.height = cut.size
        self.stream.pix_fmt = "yuv420p"
        preset = "superfast" if cut.size[0] > 1920 else "veryfast"
        self.stream.options = {"crf": "23", "preset": preset, "flags": "+bitexact", "x264-params": REPEATABLE}
        self.stream.codec_context.thread_count = 1
        self.graph = av.filter.Graph()
        steps = [
            self.graph.add_buffer(
                width=first.width, height=first.height, format=first.format, time_base=Fraction(1, cut.fps)
            ),
            self.graph.add("crop", _window(cut, first.width, first.height)),
            self.graph.add("scale", f"{cut.size[0]}:{cut.size[1]}:flags=area+accurate_rnd+bitexact"),
            self.graph.add("format", "yuv420p"),
            self.graph.add("buffersink"),
        ]
        self.graph.link_nodes(*steps).configure()

    def add(self, frame: av.VideoFrame) -> None:
        import av

        frame.pts, frame.time_base = self.count, Fraction(1, self.cut.fps)
        self.graph.push(frame)
        picture = self.graph.pull()
        assert isinstance(picture, av.VideoFrame)
        picture.pict_type = 0  # the source's key frames are not ours
        self.container.mux(self.stream.encode(picture))
        self.count += 1

    def close(self) -> None:
        self.container.mux(self.stream.encode(None))
        self.container.close()


def _window(cut: Cut, width: int, height: int) -> str:
    """The crop filter's arguments in pixels; `n` counts frames."""
    x, y, w, h = cut.crop
    last_x, last_y = cut.to or (x, y)
    steps = max(1, cut.end - cut.start - 1)
    moving_x = f"{x * width:.3f}+n*{(last_x - x) * width / steps:.5f}"
    moving_y = f"{y * height:.3f}+n*{(last_y - y) * height / steps:.5f}"
    return f"w={round(w * width / 2) * 2}:h={round(h * height / 2) * 2}:x='{moving_x}':y='{moving_y}'"
