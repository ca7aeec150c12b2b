"""`rushes generate`, `promote`, `history`, `compare` and `export`: use versions, choose the champion, see who did and why."""

from __future__ import annotations

import getpass
import os
import subprocess
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from assets.evaluation import history as records
from assets.evaluation import promotion
from assets.evaluation.comparison import FOLDER, Comparison, find_version, write_page
from assets.model.launch import Launch
from assets.registry import CHAMPION, Registry
from assets.release.generation import export_version, generate_marked
from assets.serving.answer import GenerationRequest
from orchestration.commands.shared import facts, home, open_page, plain, say, stdout, table

FILE = "file or clip id"
OWN = "Default: the model's own."


def register(app: typer.Typer) -> None:
    app.command()(generate)
    app.command()(promote)
    app.command()(history)
    app.command()(compare)
    app.command()(export)


def _option(panel: str, text: str, metavar: str | None = None) -> Any:
    return typer.Option(metavar=metavar, rich_help_panel=panel, help=text)


_given, _guidance, _making = (partial(_option, panel) for panel in ("What is given", "Guidance", "Making"))
NUMBER = _option(
    "Measured numbers",
    "What clips are measured by: fps, motion; the camera's pan, tilt and zoom; quality. Repeatable. "
    "What is not set is left to the model; fps defaults to the model's own.",
    "NAME=VALUE",
)


def generate(
    prompt: Annotated[str, typer.Argument(help="What the video shows.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The mp4 to write.")],
    seed: Annotated[int, typer.Option(help="Same prompt, seed and version: same video.")] = 0,
    version: Annotated[str | None, typer.Option(help="A registered version; the champion by default.")] = None,
    first: Annotated[str | None, _given("Image to video: the first frame.", FILE)] = None,
    last: Annotated[str | None, _given("The last frame; with --first, both ends.", FILE)] = None,
    keyframe: Annotated[
        list[str] | None, _given("Key frames: a picture at a time; repeatable.", "SECONDS=FILE")
    ] = None,
    after: Annotated[str | None, _given("Extension forward: continue from this video's end.", FILE)] = None,
    before: Annotated[
        str | None, _given("Extension backward: lead up to this video's start; with --after, in-betweening.", FILE)
    ] = None,
    source: Annotated[str | None, _given("Video to video: remake this one, by --strength.", FILE)] = None,
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


def promote(
    version: Annotated[str, typer.Argument(help="Number of the registered version.")],
    because: Annotated[str, typer.Option(help="Why; it stays in the history.")] = "",
    by: Annotated[str | None, typer.Option(help="Who decides; by default the account that runs this.")] = None,
) -> None:
    """Make a version the champion, if consent, copies and taint allow it; else say why not."""
    say(plain(promotion.promote(home(), version, by or getpass.getuser(), because)))


def compare(
    first: Annotated[str, typer.Argument(help="A version's number or alias, or the beginning of a model's key.")],
    second: Annotated[str | None, typer.Argument(help="Likewise; alone, the first stands beside the champion.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The page; by default below the home.")] = None,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")] = True,
) -> None:
    """Put two versions side by side: the same prompts and seeds, the codec's ceiling, numbers, the gate's reasons.

    Samples that the first has none of are generated. Below the home the page shows held-out clips too, and a withdrawal
    deletes it; with --output it is a page to pass on, without them.
    """
    at, registry = home(), Registry(home())
    names = (first, second) if second else (CHAMPION, first)
    reference, candidate = (find_version(registry, name) for name in names)
    if reference == candidate:
        raise ValueError(f"{' and '.join(names)} are the same version, {candidate.number}")
    compared = Comparison.of(at, candidate, reference)
    compared.fill(_run)
    path = output or at.scratch(FOLDER) / f"{reference.number}-{candidate.number}.html"
    columns = ("what", *(side.title for side in compared.sides), "difference", "")
    rows = [(row["what"], *row["values"], row["difference"], row["verdict"]) for row in compared.numbers()]
    stdout.print(table("", columns, rows))
    open_page(write_page(compared, path, people=output is None), show)


def _run(started: Launch) -> None:
    """Run a training process with its progress in this terminal."""
    done = subprocess.run(started.command, env=os.environ | started.env, cwd=started.cwd, check=False)
    if done.returncode:
        raise RuntimeError(f"generating failed with exit code {done.returncode}; see {started.run_dir}")


def history(
    version: Annotated[str | None, typer.Argument(help="Only what concerns this version.")] = None,
) -> None:
    """Show who promoted, refused and demoted which version, when and why. Nothing of it is ever overwritten."""
    events = records.events(home(), version)
    for event in events:
        moved = event.after if event.before == event.after else f"{event.before} → {event.after}"
        what = f"version {event.version} {event.event}"
        say(f"{event.at}  [bold]{plain(what)}[/]  champion: {plain(moved)}  by: {plain(event.by)}")
        say(f"    {plain(event.why, 4000)}")
    if not events:
        say(plain("nothing was promoted or refused yet" if version is None else f"nothing about version {version} yet"))


def export(
    version: Annotated[
        str, typer.Argument(help="Number of a registered version that was tuned from a pretrained base.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write; it must not exist.")],
) -> None:
    """Write a version as a folder that diffusers opens: the base with the tuned transformer, and the adapter beside it."""
    say(plain(f"wrote {export_version(home(), version, output)}"))
