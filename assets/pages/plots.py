"""Pictures for people: contact sheets, plots and small animations, as bytes and as Markdown.

The Dagster UI shows Markdown images from `data:` URIs only, and keeps metadata in its event log, so every picture here
stays small (a contact sheet well below 200 KB). Plain module: no Dagster.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

INK, GRID, ACCENT, ALARM = "#1f2933", "#d8dee6", "#2f6f9f", "#c0392b"
SERIES = (ACCENT, ALARM, "#d98e04", "#6c5b9b", "#3b8e6a", "#8a5a44", "#7f8c99")


def contact_sheet(
    frames: Sequence[np.ndarray],
    captions: Sequence[str] = (),
    columns: int = 6,
    cell: int = 150,
    quality: int = 70,
    size: int = 10,
) -> bytes:
    """A WebP sheet of RGB frames (each uint8 [H, W, 3]) with a caption below each, as many lines as the longest has.

    `size` is that of the letters, in pixels.
    """
    from PIL import Image, ImageDraw, ImageFont

    columns, lines = max(1, min(columns, len(frames))), max((text.count("\n") + 1 for text in captions), default=1)
    line, font = size + 3, ImageFont.load_default(size=size)
    below = 5 + line * lines
    height = cell * 9 // 16 + below
    rows = max(1, -(-len(frames) // columns))
    sheet = Image.new("RGB", (columns * cell, rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    for index, frame in enumerate(frames):
        picture = _fit(Image.fromarray(frame), cell - 4, height - below - 2)
        left, top = index % columns * cell, index // columns * height
        sheet.paste(picture, (left + (cell - picture.width) // 2, top + (height - below - picture.height) // 2))
        for at, text in enumerate(captions[index].split("\n") if index < len(captions) else ()):
            place = left + 3, top + height - below + 2 + line * at
            draw.text(place, text[: 2 * cell // size], fill=INK, font=font)
    return webp(sheet, quality)


def animated_webp(frames: np.ndarray, fps: float, max_side: int = 160, quality: int = 60) -> bytes:
    """A looping WebP of uint8 [T, H, W, 3] frames; small videos are enlarged by whole factors, to be seen."""
    from PIL import Image

    longest = max(frames.shape[1:3])
    scale = max(1, max_side // longest) if longest < max_side else max_side / longest
    size = (max(1, round(frames.shape[2] * scale)), max(1, round(frames.shape[1] * scale)))
    method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BILINEAR
    images = [Image.fromarray(frame).resize(size, method) for frame in frames]
    out = io.BytesIO()
    images[0].save(
        out, "WEBP", save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0, quality=quality
    )
    return out.getvalue()


def beside(left: np.ndarray, right: np.ndarray, gap: int = 4) -> np.ndarray:
    """Two videos, uint8 [T, H, W, 3] each, in one: the right one at the left one's height, as long as the shorter."""
    import numpy as np
    from PIL import Image

    height = left.shape[1]
    width = max(1, round(right.shape[2] * height / right.shape[1]))
    scaled = [np.asarray(Image.fromarray(frame).resize((width, height))) for frame in right]
    length = min(len(left), len(scaled))
    white = np.full((length, height, gap, 3), 255, np.uint8)
    return np.concatenate([left[:length], white, np.stack(scaled[:length])], axis=2)


def _fit(image: Any, width: int, height: int) -> Any:
    """The image at the largest size within the box; pixels of an enlarged one stay visible as such."""
    from PIL import Image

    scale = min(width / image.width, height / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BILINEAR)


def webp(image: Any, quality: int) -> bytes:
    """A picture of PIL's as WebP."""
    out = io.BytesIO()
    image.save(out, "WEBP", quality=quality, method=4)
    return out.getvalue()


def decoded(data: str) -> np.ndarray:
    """A thumbnail of ours (base64 of any picture format) as uint8 [h, w, 3]."""
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def data_uri(data: bytes, mime: str = "image/webp") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def markdown_image(data: bytes, mime: str = "image/webp", alt: str = "") -> str:
    return f"![{alt}]({data_uri(data, mime)})"


def markdown_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Rows as a Markdown table; cells are made safe for it."""
    if not rows:
        return "*none*"
    columns = list(columns or rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows:
        cells = (str(row.get(column, "")).replace("|", "\\|").replace("\n", " ") for column in columns)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def line_plot(
    series: Mapping[str, Sequence[tuple[float, float]]],
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    log: bool = False,
) -> bytes:
    """A PNG of named (x, y) series."""
    figure, axes = _axes(title, xlabel, ylabel)
    for name, points in series.items():
        axes.plot([x for x, _ in points], [y for _, y in points], label=name, linewidth=1.5)
    if log:
        axes.set_yscale("log")
    if series:
        axes.legend(frameon=False, fontsize=8)
    return png(figure)


def outlook_plot(
    past: Mapping[date, Mapping[str, int]],
    future: Mapping[date, Mapping[str, int]],
    total: str,
    title: str = "",
    ylabel: str = "",
    most: int = 5,
) -> bytes:
    """A PNG of counts over days: solid as recorded, dashed as computed for the future, with today's line between them.

    `total` is the series drawn as an area; of the others the `most` largest are lines. A day without a series has 0.
    """
    import matplotlib.dates as dates

    figure, axes = _axes(title, "", ylabel, size=(7.6, 3.4))
    names = {name for counts in (*past.values(), *future.values()) for name in counts} - {total}
    largest = {name: max(c.get(name, 0) for c in (*past.values(), *future.values())) for name in names}
    lines = sorted((name for name in names if largest[name]), key=lambda name: (-largest[name], name))[:most]
    for name, colour in zip((total, *lines), SERIES, strict=False):
        for days, style in ((past, "-"), (future, (0, (4, 2)))):
            values = [counts.get(name, 0) for counts in days.values()]
            label, marker = (name, "o" if len(past) < 30 else "") if days is past else (None, "")
            width = 2.0 if name == total else 1.4
            axes.plot(
                list(days), values, linestyle=style, color=colour, label=label, linewidth=width, marker=marker, ms=3.5
            )
            if name == total:
                axes.fill_between(list(days), values, color=colour, alpha=0.2 if days is past else 0.08, linewidth=0)
    axes.set_ylim(0, 1.15 * max(1, axes.get_ylim()[1]))  # room for a line of text above the curves
    if past and future:
        today = max(past)
        axes.axvline(today, color=INK, linewidth=0.8)
        note = "today; dashed: if nothing else happens"
        axes.annotate(note, (today, 1), (5, -9), ("data", "axes fraction"), "offset points", fontsize=8, color=INK)
    locator = dates.AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return png(figure)


@dataclass(frozen=True)
class Shares:
    """A panel of `share_plot`: classes with their share, 0 to 1, and the share it is compared with, if any.

    `even` is what each would have if all were alike.
    """

    bars: Sequence[tuple[str, float, float | None]]
    even: float


def share_plot(panels: Mapping[str, Shares], labels: tuple[str, str]) -> bytes:
    """A PNG of panels of bars, even shares as dashed lines. `labels` name a class's bar and the one it is compared with."""
    from matplotlib.ticker import PercentFormatter

    columns = min(3, max(1, len(panels)))
    lines = -(-len(panels) // columns)
    figure = new_figure(4.1 * columns, 2.6 * lines + 0.4, dpi=90)
    drawn: list[Any] = []
    for number, (title, panel) in enumerate(panels.items()):
        bars = panel.bars
        axes = dressed(figure.add_subplot(lines, columns, number + 1), title, "", "")
        places = [-1.0 * place for place in range(len(bars))]
        paired = any(other is not None for _, _, other in bars)
        height = 0.38 if paired else 0.7
        first = axes.barh([p + 0.2 * paired for p in places], [share for _, share, _ in bars], height, color="#aab7c4")
        drawn = [first]
        if paired:
            others = [other or 0.0 for _, _, other in bars]
            drawn.append(axes.barh([p - 0.2 for p in places], others, height, color=ACCENT))
        if bars:
            drawn.append(axes.axvline(panel.even, color=ALARM, linewidth=1, linestyle=(0, (4, 2))))
        axes.set_yticks(places, [name if len(name) < 25 else name[:23] + "…" for name, _, _ in bars])
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    if drawn:
        names = [*labels[: len(drawn) - 1], "even share"]
        figure.legend(drawn, names, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return png(figure)


def _axes(title: str, xlabel: str, ylabel: str, size: tuple[float, float] = (5.6, 2.8)) -> tuple[Any, Any]:
    figure = new_figure(*size)
    return figure, dressed(figure.add_subplot(), title, xlabel, ylabel)


def new_figure(width: float, height: float, dpi: int = 100) -> Any:
    """A figure of so many inches, by the object interface and not pyplot: no global state, no display, safe in threads."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def dressed(axes: Any, title: str, xlabel: str, ylabel: str) -> Any:
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.set_xlabel(xlabel, fontsize=8, color=INK)
    axes.set_ylabel(ylabel, fontsize=8, color=INK)
    axes.tick_params(labelsize=8, colors=INK)
    axes.grid(color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return axes


def png(figure: Any) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
