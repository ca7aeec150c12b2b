"""The demo to its end over a smaller world: champion, release, prompts, a withdrawal with its retrain, and once again."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console

from assets.consent.ledger import Ledger
from assets.dataset.sealed import current
from assets.home import Home
from assets.marks.marking import read_marks
from assets.model import published
from assets.registry.versions import CHAMPION, Registry, Version
from assets.release.bundle import read_manifest, unmarked
from orchestration.demo.deliveries import DELIVERIES, Delivery
from orchestration.demo.run import run_demo
from orchestration.demo.story import PROMPT
from orchestration.resources import open_home
from orchestration.sensors import build_sensors
from orchestration.services import environment
from orchestration.session import Session
from orchestration.settings import ROOT, Settings
from tests.orchestration.graph import settings_in

pytestmark = pytest.mark.slow

# files of each delivery, from its first; real footage of three contributors and scenes of three
FILES = {"d-scenes-1": 16, "d-scenes-2": 6, "d-scenes-3": 4, "d-street": 2, "d-park": 2, "d-snow": 2, "d-broken": 4}
TRAINING = {"codec": {"steps": 20, "checkpoint_every": 10}, "transformer": {"steps": 80, "checkpoint_every": 40}}


def short_world() -> list[Delivery]:
    """Some of the sample world's deliveries, received on two days."""
    chosen = [delivery for delivery in DELIVERIES if delivery.delivery_id in FILES]
    first, second = "2026-11-04", "2026-11-05"
    return [
        replace(
            delivery,
            clips=delivery.clips[: FILES[delivery.delivery_id]],
            received_at=f"{first if place % 2 else second}T0{place}:00:00Z",
        )
        for place, delivery in enumerate(chosen)
    ]


@dataclass
class Demo:
    settings: Settings
    home: Home
    output: str
    champion: Version

    def run(self) -> str:
        """`make demo` over this home; what it said."""
        console = Console(file=io.StringIO(), width=200)
        run_demo(self.settings, console, short_world())
        return console.file.getvalue()  # type: ignore[attr-defined]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of Python in another process, with this home in its environment."""
        env = environment(self.settings) | {"MLFLOW_TRACKING_URI": self.home.mlflow_uri, "COLUMNS": "200"}
        command = [sys.executable, "-m", *arguments]
        return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=600)

    def rushes(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.command("orchestration.cli", *arguments)

    def predict(self, version: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """`mlflow models predict`; its answer is in `folder`/out.json."""
        rows = [{"prompt": PROMPT, "seed": 3, "steps": 4}]
        (folder / "in.json").write_text(json.dumps({"dataframe_records": rows}))
        files = ("-i", str(folder / "in.json"), "-o", str(folder / "out.json"))
        model = f"models:/video-transformer{version}"
        return self.command("mlflow", "models", "predict", "-m", model, *files, "--env-manager", "local")

    @property
    def serving(self) -> Version | None:
        registry = Registry(self.home)
        number = registry.alias(CHAMPION)
        return registry.version(number) if number else None


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo, run once: it raises where a part of its story did not happen, such as a champion."""
    settings = settings_in(tmp_path_factory.mktemp("demo"), training=json.dumps(TRAINING))
    if not settings.vendor.is_dir():
        pytest.skip(f"there is no sample footage in {settings.vendor}: make setup")
    demo = Demo(settings, open_home(settings), "", None)  # type: ignore[arg-type]
    demo.output = demo.run()
    assert demo.serving, "the demo ended without a champion and did not say so"
    demo.champion = demo.serving
    return demo


@dataclass
class Withdrawn:
    """What a withdrawal found and left: who served before, who while the retrain was still to come, who after it."""

    clips: set[str]
    before: Version
    meanwhile: Version | None
    after: Version | None


@pytest.fixture(scope="module")
def withdrawn(demo: Demo) -> Withdrawn:
    """A contributor of training footage withdraws; the sensor acts, and the run that it asks for is done."""
    training = [member for member in current(demo.home).members if member["split"] == "train"]
    real = {row["contributor_id"] for row in training} & {"c-anouk", "c-ruth", "c-david"}
    (person, delivery), *_ = [(d.contributor_id, d.delivery_id) for d in short_world() if d.contributor_id in real]
    clips = {row["clip_id"] for row in training if row["contributor_id"] == person}
    cursor = str(Ledger(demo.home.database_url).size())
    key = demo.settings.state / "demo_people" / f"{person}.key"
    done = demo.rushes("consent", "revoke", f"consent-{delivery}", "--key", str(key))
    assert done.returncode == 0, done.stderr
    (sensor,) = [sensor for sensor in build_sensors(dg.DefaultSensorStatus.STOPPED) if sensor.name == "ledger_sensor"]
    with Session(demo.settings, Console(file=io.StringIO())) as session:
        resources = {"home": demo.home}
        with dg.build_sensor_context(instance=session.instance, cursor=cursor, resources=resources) as context:
            asked = sensor(context)
        (request,) = asked.run_requests  # type: ignore[union-attr]
        meanwhile = demo.serving
        session.job(sensor.job_name or "", dict(request.tags))
    return Withdrawn(clips, demo.champion, meanwhile, demo.serving)


def test_the_demo_ends_with_a_champion_whose_release_is_marked(demo: Demo) -> None:
    assert demo.champion.taint is None
    assert demo.champion.model_key == published.latest(demo.home)
    assert read_manifest(demo.home, demo.champion.model_key)["files"]
    assert unmarked(demo.home, demo.champion.model_key) == {}


def test_the_demo_answers_a_prompt_with_a_marked_video_and_says_where(demo: Demo) -> None:
    sample = demo.settings.state / "demo-sample.mp4"
    assert str(sample) in demo.output
    assert read_marks(sample, demo.home.signing).complete


def test_the_commands_that_the_demo_suggests_work(demo: Demo, tmp_path: Path) -> None:
    lines = [line.strip() for line in demo.output.partition("Next:")[2].splitlines()]
    commands = [line for line in lines if "rushes " in line and not line.endswith("make ui")]
    assert len(commands) == 2
    tool = Path(sys.executable).with_name("rushes")
    for command in commands:
        assert str(tool.relative_to(ROOT) if tool.is_relative_to(ROOT) else tool) in command
        moved = command.replace("-o sample.mp4", f"-o {tmp_path / 'sample.mp4'}")
        done = subprocess.run(
            moved, shell=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert read_marks(tmp_path / "sample.mp4", demo.home.signing).complete


def test_mlflow_predicts_a_marked_video_with_the_champion(demo: Demo, tmp_path: Path) -> None:
    done = demo.predict("@champion", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    (row,) = json.loads((tmp_path / "out.json").read_text())["predictions"]
    marks = read_marks(Path(row["path"]), demo.home.signing)
    assert marks.complete, marks.problems


def test_after_a_withdrawal_the_model_that_saw_the_clip_serves_nobody(
    demo: Demo, withdrawn: Withdrawn, tmp_path: Path
) -> None:
    assert withdrawn.meanwhile is None or withdrawn.meanwhile.number != withdrawn.before.number
    tainted = Registry(demo.home).version(withdrawn.before.number)
    assert "consent.revoked" in (tainted.taint or "")
    done = demo.rushes("generate", PROMPT, "-o", str(tmp_path / "a.mp4"), "--version", tainted.number)
    assert done.returncode == 1
    assert "must not serve" in done.stderr
    assert demo.predict(f"/{tainted.number}", tmp_path).returncode != 0, "predict served a tainted version"
    assert not (tmp_path / "out.json").exists()


def test_the_retrain_after_a_withdrawal_ends_with_a_clean_champion_that_serves(
    demo: Demo, withdrawn: Withdrawn, tmp_path: Path
) -> None:
    assert withdrawn.after is not None, "no version serves after the retrain"
    assert withdrawn.after.number != withdrawn.before.number
    assert withdrawn.after.taint is None
    assert not withdrawn.clips & set(current(demo.home).clip_ids)
    done = demo.rushes("generate", PROMPT, "-o", str(tmp_path / "b.mp4"))
    assert done.returncode == 0, done.stderr
    assert read_marks(tmp_path / "b.mp4", demo.home.signing).complete


def test_the_demo_again_trains_nothing_and_serves_the_same_champion(demo: Demo, withdrawn: Withdrawn) -> None:
    versions = [version.number for version in Registry(demo.home).versions()]
    models = set(demo.home.store.list("models"))
    demo.run()
    assert [version.number for version in Registry(demo.home).versions()] == versions
    assert set(demo.home.store.list("models")) == models
    assert demo.serving == withdrawn.after
