"""What MLflow has of a model beside its curves: shape and size, its best and last numbers, its samples under their prompts.

A contributor's pictures are shown in Dagster alone: in MLflow they would be a copy that a withdrawal does not reach, so there
a sample has a rendered scene beside it or none.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assets.evaluation.report import all_scores, measured, rendered_scene, scores_page
from assets.home import Home
from assets.marks.marking import mark_video
from assets.model import published
from assets.model.config import TASKS, Task
from assets.model.outcome import TRAIN_LOSS, Outcome
from assets.model.published import CurrentModel
from assets.registry import Registry
from training.data.video import read_frames, write_mp4

NOTE = "mlflow.note.content"  # the tag that MLflow shows as the description of a run
TABLES = "mlflow.loggedArtifacts"  # the tag that lists the files which MLflow shows as tables
STAGES = {
    "start": "start",
    "best": "end",
    "final": "last",
}  # what MLflow calls a measurement, and the run's result does
PROMPTS = "samples/prompts.json"
WORDS = 60  # letters of a prompt in a file's name


def parameters(home: Home, model: CurrentModel) -> dict[str, Any]:
    """What the weights are, beside what was chosen: widths, layers, how they are sampled, and how many there are."""
    counts = {task: model.record.get(task, {}).get("parameters") for task in TASKS}
    params = {f"{task}.parameters": count for task, count in counts.items() if count is not None}
    if all(counts.values()):
        params["parameters"] = sum(counts.values())
    for task in TASKS:
        key = f"{published.folder(model.model_key)}/{task}.json"
        shape = json.loads(home.store.get(key)) if home.store.exists(key) else {}
        sampling = shape.pop("sampling", {})
        params |= {f"{task}.shape.{name}": value for name, value in shape.items()}
        params |= {f"sampling.{name}": value for name, value in sampling.items()}
    return params


def numbers(home: Home, model: CurrentModel, task: Task) -> dict[int, dict[str, float]]:
    """A task's held-out measures by step: at its start, of the weights that are published, at its last step."""
    record = published.result(home, model.model_key, task) or model.record.get(task, {})
    result = record.get("result", {})
    outcome, last = Outcome(task, result, record.get("metrics", [])), int(result.get("steps", 0))
    best = last if outcome.kept_best is None else outcome.kept_best
    by_step: dict[int, dict[str, float]] = {}
    for (shown, kept), step in zip(STAGES.items(), (0, best, last), strict=True):
        values = result.get(kept) or (result.get("end", {}) if kept == "last" else {})
        by_step.setdefault(step, {}).update({f"{shown}/{task}/{name}": value for name, value in values.items()})
    if losses := outcome.curve(TRAIN_LOSS):
        by_step.setdefault(int(losses[-1][0]), {})[f"final/{task}/{TRAIN_LOSS}"] = losses[-1][1]
    return {step: values for step, values in by_step.items() if values}


def log_model(home: Home, registry: Registry, model: CurrentModel, version: str) -> None:
    """Put numbers on the logged model, and scores, marked samples and rendered scenes beside them into its run."""
    root, scores = model.sealed.root, model.scores(home)
    for task in TASKS:
        for step, values in numbers(home, model, task).items():
            registry.log_model_metrics(version, step, values, root)
    registry.log_model_metrics(
        version,
        int(model.record["transformer"]["result"].get("steps", 0)),
        {f"scorecard/{row['metric']}/{row['slice']}": row["value"] for row in measured(scores)},
        root,
    )
    page = scores_page(scores)
    registry.client.set_tag(model.run_id, NOTE, f"# Scorecard\n\n{page}")
    with tempfile.TemporaryDirectory() as scratch:
        _log_samples(home, registry, model, Path(scratch))
        for name, text in (
            ("scorecard.json", json.dumps(scores, indent=1, sort_keys=True)),
            ("scorecard.md", f"{page}\n\n## Everything that was measured\n\n{all_scores(scores)}"),
        ):
            _log_text(registry, model, Path(scratch) / name, text, "scorecard")


def _log_samples(home: Home, registry: Registry, model: CurrentModel, scratch: Path) -> None:
    """Marked samples, the rendered scene of those whose prompt is one, and a table that says which file is which."""
    lines: list[Sequence[Any]] = []
    for number, row in enumerate(model.samples(home), start=1):
        source, name = home.store.fetch(row["media_key"]), file_name(number, row)
        marked = scratch / f"{name}.mp4"
        mark_video(source, marked, model.claims, home.signing)
        registry.log_artifact(model.run_id, marked, "samples")
        frames, fps = read_frames(source)
        scene, drawn = rendered_scene(row["prompt"], frames.shape, fps), "the asset samples in Dagster shows the clip"
        if scene is not None:
            path = write_mp4(scratch / f"{name}-rendered.mp4", scene, fps)
            registry.log_artifact(model.run_id, path, "samples")
            drawn = path.name
        lines.append((row["prompt"], row["seed"], marked.name, drawn))
    table = {"columns": ["prompt", "seed", "generated", "what the prompt says"], "data": lines}
    _log_text(registry, model, scratch / Path(PROMPTS).name, json.dumps(table, indent=1), "samples")
    registry.client.set_tag(model.run_id, TABLES, json.dumps([{"path": PROMPTS, "type": "table"}]))


def file_name(number: int, row: Mapping[str, Any]) -> str:
    """A sample's name by what it shows: `03-a-red-circle-moves-right-seed7`."""
    words = re.sub(r"[^a-z0-9]+", "-", row["prompt"].casefold())[:WORDS].strip("-")
    return f"{number:02d}-{words or 'sample'}-seed{row['seed']}"


def _log_text(registry: Registry, model: CurrentModel, path: Path, text: str, folder: str) -> None:
    path.write_text(text + "\n")
    registry.log_artifact(model.run_id, path, folder)
