"""`rushes generate` and `rushes promote`: use the champion, and make a version the champion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from assets.evaluation import promotion
from assets.release.generation import generate_marked
from assets.serving.answer import GenerationRequest
from orchestration.commands.shared import facts, home, plain, say, stdout

FILE = "file or clip id"
OWN = "Default: the model's own."


def register(app: typer.Typer) -> None:
    app.command()(generate)
    app.command()(promote)


def _given(text: str, metavar: str = FILE) -> Any:
    return typer.Option(metavar=metavar, rich_help_panel="What is given", help=text)


def _guidance(text: str, metavar: str | None = None) -> Any:
    return typer.Option(metavar=metavar, rich_help_panel="Guidance", help=text)


def _making(text: str, metavar: str | None = None) -> Any:
    return typer.Option(metavar=metavar, rich_help_panel="Making", help=text)


NUMBER = typer.Option(
    metavar="NAME=VALUE",
    rich_help_panel="Measured numbers",
    help="What clips are measured by: fps, motion; the camera's pan, tilt and zoom; quality. Repeatable. "
    "What is not set is left to the model; fps defaults to the model's own.",
)


def generate(
    prompt: Annotated[str, typer.Argument(help="What the video shows.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The mp4 to write.")],
    seed: Annotated[int, typer.Option(help="Same prompt, seed and version: same video.")] = 0,
    version: Annotated[str | None, typer.Option(help="A registered version; the champion by default.")] = None,
    first: Annotated[str | None, _given("Image to video: the first frame.")] = None,
    last: Annotated[str | None, _given("The last frame; with --first, both ends.")] = None,
    keyframe: Annotated[
        list[str] | None, _given("Key frames: a picture at a time; repeatable.", "SECONDS=FILE")
    ] = None,
    after: Annotated[str | None, _given("Extension forward: continue from this video's end.")] = None,
    before: Annotated[
        str | None, _given("Extension backward: lead up to this video's start; with --after, in-betweening.")
    ] = None,
    source: Annotated[str | None, _given("Video to video: remake this one, by --strength.")] = None,
    strength: Annotated[float, _given("How much of the source changes: near 0 nothing, 1 all.", "FLOAT")] = 0.7,
    negative: Annotated[str, _guidance("Negative prompt: what not to show.")] = "",
    guidance: Annotated[float | None, _guidance(f"How strongly the prompt pulls; 1: no guidance. {OWN}")] = None,
    guidance_interval: Annotated[
        str, _guidance("Guide only between these times; 1 is noise, 0 the end.", "LOW,HIGH")
    ] = "0,1",
    guidance_rescale: Annotated[float, _guidance("From 0 to 1, against burnt colours under strong guidance.")] = 0.0,
    number: Annotated[list[str] | None, NUMBER] = None,
    frames: Annotated[int | None, _making(f"4k + 1 frames. {OWN}")] = None,
    size: Annotated[str | None, _making(f"Multiples of 16. {OWN}", "WxH")] = None,
    steps: Annotated[int | None, _making(f"Steps from noise to video. {OWN}")] = None,
    method: Annotated[str, _making("euler, or heun: twice the work a step, more exact.")] = "euler",
) -> None:
    """Generate a video. It leaves with a watermark and C2PA metadata, or not at all.

    Text to video needs only a prompt. What is given comes back as it is, and the model makes the rest.
    """
    if output.is_dir():
        raise ValueError(f"{output} is a folder; name the mp4 to write")
    roles = {"first": first, "last": last, "after": after, "before": before, "source": source}
    options = {  # fields of training.config.GenerateConfig
        "references": [{"role": role, "path": path} for role, path in roles.items() if path]
        + [_keyframe(text) for text in keyframe or ()],
        "strength": strength,
        "negative_prompt": negative,
        "guidance": guidance,
        "guidance_interval": [_number(part, "--guidance-interval") for part in guidance_interval.split(",")],
        "guidance_rescale": guidance_rescale,
        "numbers": {name: _number(value, name) for name, value in (_pair(text, "NAME=VALUE") for text in number or ())},
        "frames": frames,
        "size": [int(_number(part, "--size")) for part in size.lower().split("x")] if size else None,
        "steps": steps,
        "method": method,
    }
    result = generate_marked(home(), GenerationRequest(prompt, seed, options), output, version)
    stdout.print(facts(result))


def _keyframe(text: str) -> dict[str, Any]:
    seconds, path = _pair(text, "SECONDS=FILE")
    return {"role": "keyframe", "path": path, "seconds": _number(seconds, "--keyframe")}


def _pair(text: str, form: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not (name and value):
        raise ValueError(f"{text!r} is not {form}")
    return name, value


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{what}: {text!r} is not a number") from None


def promote(version: Annotated[str, typer.Argument(help="Number of the registered version.")]) -> None:
    """Make a version the champion, if consent, copies and taint allow it; else say why not."""
    say(plain(promotion.promote(home(), version)))
