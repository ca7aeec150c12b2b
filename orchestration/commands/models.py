"""`rushes generate` and `rushes promote`: use the champion, and make a version the champion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from orchestration.commands.shared import facts, home, plain, stdout


def register(app: typer.Typer) -> None:
    app.command()(generate)
    app.command()(promote)


GIVEN, GUIDANCE, NUMBERS, MAKING = "What is given", "Guidance", "Numbers that the model is told", "Making"
FILE = "file or clip id"
OWN = "Default: the model's own."


def generate(
    prompt: Annotated[str, typer.Argument(help="What is to be seen.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The mp4 to write.")],
    seed: Annotated[int, typer.Option(help="Same prompt, seed and version: same video.")] = 0,
    version: Annotated[str | None, typer.Option(help="A registered version; the champion without it.")] = None,
    first: Annotated[
        str | None, typer.Option(metavar=FILE, rich_help_panel=GIVEN, help="Image to video: the first frame.")
    ] = None,
    last: Annotated[
        str | None,
        typer.Option(metavar=FILE, rich_help_panel=GIVEN, help="The last frame; with --first, both ends."),
    ] = None,
    keyframe: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SECONDS=FILE", rich_help_panel=GIVEN, help="Key frames: a picture at a time; repeatable."
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(metavar=FILE, rich_help_panel=GIVEN, help="Extension forward: go on from this video's end."),
    ] = None,
    before: Annotated[
        str | None,
        typer.Option(
            metavar=FILE,
            rich_help_panel=GIVEN,
            help="Extension backward: lead up to this video's start; with --after, in-betweening.",
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(metavar=FILE, rich_help_panel=GIVEN, help="Video to video: remake this one, by --strength."),
    ] = None,
    strength: Annotated[
        float, typer.Option(rich_help_panel=GIVEN, help="How much of the source goes: near 0 nothing, 1 all.")
    ] = 0.7,
    negative: Annotated[str, typer.Option(rich_help_panel=GUIDANCE, help="Negative prompt: what not to see.")] = "",
    guidance: Annotated[
        float | None,
        typer.Option(rich_help_panel=GUIDANCE, help=f"How strongly the prompt pulls; 1: no guidance. {OWN}"),
    ] = None,
    guidance_interval: Annotated[
        str,
        typer.Option(
            metavar="LOW,HIGH", rich_help_panel=GUIDANCE, help="Guide between these times alone; 1 is noise, 0 the end."
        ),
    ] = "0,1",
    guidance_rescale: Annotated[
        float, typer.Option(rich_help_panel=GUIDANCE, help="From 0 to 1, against burnt colours under strong guidance.")
    ] = 0.0,
    number: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            rich_help_panel=NUMBERS,
            help="What clips are measured by: fps, motion; the camera's pan, tilt and zoom; quality. Repeatable. "
            "What is not told is left to the model; fps has the model's own as its default.",
        ),
    ] = None,
    frames: Annotated[int | None, typer.Option(rich_help_panel=MAKING, help=f"4k + 1 frames. {OWN}")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", rich_help_panel=MAKING, help=f"Multiples of 16. {OWN}")
    ] = None,
    steps: Annotated[int | None, typer.Option(rich_help_panel=MAKING, help=f"Steps from noise to video. {OWN}")] = None,
    method: Annotated[
        str, typer.Option(rich_help_panel=MAKING, help="euler, or heun: twice the work a step, more exact.")
    ] = "euler",
) -> None:
    """Generate a video. It leaves with a watermark and C2PA metadata, or not at all.

    Text to video needs a prompt alone. What is given comes back as it is, and the model makes the rest.
    """
    from assets.release.generation import generate_marked
    from assets.serving.answer import GenerationRequest

    if output.is_dir():
        raise ValueError(f"{output} is a folder; name the mp4 to write")
    roles = {"first": first, "last": last, "after": after, "before": before, "source": source}
    references: list[dict[str, Any]] = [{"role": role, "path": path} for role, path in roles.items() if path]
    for seconds, path in (_pair(text, "SECONDS=FILE") for text in keyframe or ()):
        references.append({"role": "keyframe", "path": path, "seconds": _number(seconds, "--keyframe")})
    options: dict[str, Any] = {
        "references": references,
        "strength": strength,
        "negative_prompt": negative,
        "guidance": guidance,
        "guidance_interval": [_number(part, "--guidance-interval") for part in guidance_interval.split(",")],
        "guidance_rescale": guidance_rescale,
        "numbers": {k: _number(v, k) for k, v in (_pair(text, "NAME=VALUE") for text in number or ())},
        "frames": frames,
        "size": [int(_number(part, "--size")) for part in size.lower().split("x")] if size else None,
        "steps": steps,
        "method": method,
    }
    result = generate_marked(home(), GenerationRequest(prompt, seed, options), output, version)
    stdout.print(facts(result))


def _pair(text: str, form: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not (name and found and value):
        raise ValueError(f"{text!r} is not {form}")
    return name, value


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{what}: {text!r} is not a number") from None


def promote(version: Annotated[str, typer.Argument(help="Number of the registered version.")]) -> None:
    """Make a version the champion, if consent, copies and taint allow it; else say why not."""
    from assets.evaluation.promotion import promote as promote_version

    stdout.print(plain(promote_version(home(), version)), highlight=False)
