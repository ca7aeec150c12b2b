"""What the pixels themselves may tell of a file's origin: block spectra for the watermark's reader, and a spectral peak.

Runs in the probe's worker on a few frames a second of the middle of the picture, at its own size, because scaling would
wipe out both. It knows no key: a process that opens hostile files must not hold the platform's secret. What the
watermark's key finds in the block spectra is `assets.marks.watermark`'s; what either means for a clip is curation's.

The spectral peak is the strongest excess, in decibels, of a single spatial frequency over its surroundings. Pictures that
were made or enlarged by convolution often carry such regular patterns (Odena et al. 2016, doi:10.23915/distill.00003;
Durall et al. 2020, arXiv:2003.01826), and so do fabrics and codecs: it orders what people look at, and proves nothing.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from assets.marks.watermark import COLUMNS, ROWS, dct

if TYPE_CHECKING:
    import av
BLOCK = 8
SIDE_BLOCKS = 32  # a square of 256 x 256 pixels holds enough blocks for the watermark
WINDOW_S, SAMPLES_PER_WINDOW = 2.0, 8
MAX_WINDOWS = 48  # of a longer film every second, fourth, ... window
FIXED_POINT = 8.0  # spectra travel as 16-bit integers of an eighth
SKIRT = 9  # bins around a frequency that are its surroundings
LOWEST = 1 / 5  # cycles a pixel; below, pictures have peaks of their own
CODEC_GRID = 8  # harmonics of the codec's blocks are not looked at


@dataclass(frozen=True)
class Window:
    """Mean block spectra of one stretch of film: base64 of int16 [blocks, coefficients], blocks in row order, of the
    coefficients that a watermark uses."""

    start_s: float
    frames: int
    spectra: str


@dataclass
class Evidence:
    """Collects windows. `grid` is the whole picture in blocks (rows, columns), `corner` where the square begins."""

    grid: tuple[int, int] = (0, 0)
    corner: tuple[int, int] = (0, 0)
    extent: tuple[int, int] = (0, 0)
    windows: list[Window] = field(default_factory=list)
    _every: int = 1  # of so many windows one is kept
    _index: int = -1
    _sum: np.ndarray | None = None
    _frames: int = 0
    _power: np.ndarray | None = None
    _pictures: int = 0
    _next_s: float = 0.0
    _count: int = 0

    def take(self, frame: av.VideoFrame, now_s: float | None) -> None:
        """Look at the next frame, if it is due. Frames without time are taken to be a 25th of a second apart."""
        now = self._count / 25 if now_s is None else now_s
        self._count += 1
        if now < self._next_s:
            return
        self._next_s = now + WINDOW_S / SAMPLES_PER_WINDOW - 1e-6
        window = int(now / WINDOW_S)
        if window != self._index:
            self._close()
            self._index = window
        if window % self._every:
            return
        luma = self._luma(frame)
        if luma is None:
            return
        if self._sum is None or self._sum.shape != luma.shape:
            self._sum, self._frames = luma.copy(), 1
            self._spectrum(luma)
        else:
            self._sum += luma
            self._frames += 1

    def finish(self) -> tuple[Window, ...]:
        """Everything collected, the last window included."""
        self._close()
        return tuple(self.windows)

    def peak_db(self) -> float | None:
        """The strongest spectral peak; None where no picture was large enough."""
        if self._power is None:
            return None
        level = 10 * np.log10(self._power / self._pictures + 1e-6)
        excess = level - _surroundings(level)
        rows, columns = (np.abs(np.fft.fftfreq(side)) for side in level.shape)
        high = np.maximum(rows[:, None], columns[None, :]) >= LOWEST
        on_grid = (rows[:, None] * CODEC_GRID % 1 == 0) & (columns[None, :] * CODEC_GRID % 1 == 0)
        return round(float(np.where(high & ~on_grid, excess, -np.inf).max()), 3)

    def _luma(self, frame: av.VideoFrame) -> np.ndarray | None:
        """The square in the middle, float32, in units of eight bits; None where the picture is too small."""
        rows, columns = frame.height // BLOCK, frame.width // BLOCK
        if not self.windows and self._sum is None:
            self.grid = rows, columns
            self.extent = min(rows, SIDE_BLOCKS), min(columns, SIDE_BLOCKS)
            self.corner = (rows - self.extent[0]) // 2, (columns - self.extent[1]) // 2
        if (rows, columns) != self.grid or not min(self.extent):
            return None
        name = frame.format.name
        if not name.startswith(("yuv", "gray", "nv1", "nv2")) or name.endswith("be"):
            frame = frame.reformat(format="gray")
        plane, bits = frame.planes[0], frame.format.components[0].bits
        kind = np.dtype(np.uint8 if bits == 8 else "<u2")
        stored = np.frombuffer(memoryview(plane), kind).reshape(plane.height, plane.line_size // kind.itemsize)
        top, left = (BLOCK * side for side in self.corner)
        square = stored[top : top + BLOCK * self.extent[0], left : left + BLOCK * self.extent[1]]
        return square.astype(np.float32) / float(1 << (bits - 8))

    def _spectrum(self, luma: np.ndarray) -> None:
        """Add the power spectrum of one picture; neighbours' differences first, which flatten a picture's own slope."""
        if min(luma.shape) < 64:
            return
        detail = luma[1:-1, 1:-1] - (luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]) / 4
        windowed = detail * np.hanning(detail.shape[0])[:, None] * np.hanning(detail.shape[1])[None, :]
        power = np.abs(np.fft.fft2(windowed)) ** 2
        self._power = power if self._power is None or self._power.shape != power.shape else self._power + power
        self._pictures += 1

    def _close(self) -> None:
        """End the current window."""
        if self._sum is None:
            return
        self.windows.append(Window(self._index * WINDOW_S, self._frames, _packed(self._sum / self._frames)))
        self._sum = None
        if len(self.windows) > MAX_WINDOWS:
            self._every *= 2
            self.windows = [window for window in self.windows if int(window.start_s / WINDOW_S) % self._every == 0]


def _packed(luma: np.ndarray) -> str:
    """Block spectra (orthonormal DCT-II) of a picture as text."""
    rows, columns = (side // BLOCK for side in luma.shape)
    blocks = luma.reshape(rows, BLOCK, columns, BLOCK).transpose(0, 2, 1, 3).reshape(-1, BLOCK, BLOCK)
    spectra = (dct() @ blocks @ dct().T)[:, ROWS, COLUMNS] * FIXED_POINT
    return base64.b64encode(np.rint(spectra).clip(-32768, 32767).astype("<i2").tobytes()).decode()


def _surroundings(level: np.ndarray) -> np.ndarray:
    """The mean of a square around every bin, its own and its next neighbours left out; the spectrum is periodic."""

    def summed(reach: int) -> np.ndarray:
        total = np.zeros_like(level)
        for axis in (0, 1):
            source = level if axis == 0 else total
            total = sum(np.roll(source, shift, axis) for shift in range(-reach, reach + 1))  # type: ignore[assignment]
        return total

    outer, inner = SKIRT // 2, 1
    count = (2 * outer + 1) ** 2 - (2 * inner + 1) ** 2
    return (summed(outer) - summed(inner)) / count
