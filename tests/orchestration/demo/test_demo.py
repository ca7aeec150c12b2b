"""The demo to its end over a smaller world: every case, champion, prompts, a withdrawal with its retrain, and once again."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console

from assets.consent.ledger import Ledger
from assets.dataset.sealed import current
from assets.home import Home
from assets.ingestion.delivery_items import item_id
from assets.marks.marking import read_marks
from assets.model import published
from assets.registry import CHAMPION, Registry, Version
from assets.release.bundle import read_manifest, unmarked
from assets.requests.store import list_requests
from orchestration.demo.deliveries import CASES, DELIVERIES, REQUESTS, Case, Delivery
from orchestration.demo.people import REVIEWERS
from orchestration.demo.run import run_demo
from orchestration.demo.story import PROMPT, outcome
from orchestration.demo.world import build_world
from orchestration.sensors import build_sensors
from orchestration.services import environment
from orchestration.session import Session
from orchestration.settings import ROOT, Settings, open_home
from orchestration.status import mart
from tests.orchestration.graph import settings_in

pytestmark = pytest.mark.slow

# clips of the deliveries that have more good ones than it takes; every case is among the rest
CLIPS = {"d-skyline": 1, "d-scenes-1": 16, "d-scenes-2": 6, "d-scenes-3": 4, "d-snow": 2, "d-lava": 1}
TRAINING = {"codec": {"steps": 20, "checkpoint_every": 10}, "transformer": {"steps": 80, "checkpoint_every": 40}}


def on_two_days(delivery: Delivery) -> Delivery:
    """The delivery with fewer clips, received on one of two days: each day takes a run."""
    day = "2026-11-04" if delivery.day < "2026-11-05" else "2026-11-05"
    clips = delivery.clips[: CLIPS.get(delivery.delivery_id)]
    return replace(delivery, clips=clips, received_at=delivery.received_at.replace(delivery.day, day))


WORLD = [on_two_days(delivery) for delivery in DELIVERIES]
BLOCKED = {case.item_id for case in CASES}
DELIVERED = {item_id(d.delivery_id, place): clip for d in WORLD for place, clip in enumerate(d.clips)}
QUARANTINED = {case.item_id for case in CASES if case.fate.value == "quarantined"}
CUTS_WITHIN = 1  # towers.mp4 holds two shots


@dataclass
class Demo:
    settings: Settings
    home: Home
    output: str
    champion: Version

    def run(self) -> str:
        """`make demo` over this home; what it said."""
        console = Console(file=io.StringIO(), width=200)
        run_demo(self.settings, console, WORLD)
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
        folders = {"RUSHES_TEXT_ENCODER": self.home.text_encoder, "RUSHES_SIGNING_KEYS": self.home.signing}
        with pytest.MonkeyPatch.context() as patch:
            for name, path in folders.items():
                patch.setenv(name, str(path))
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
    video = tmp_path / "video.mp4"
    video.write_bytes(base64.b64decode(row["video"]))
    marks = read_marks(video, demo.home.signing)
    assert marks.complete, marks.problems


# -- what became of the sample world -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_ends_in_the_verdict_it_should(demo: Demo, case: Case) -> None:
    ended = outcome(demo.home.lake, case)
    assert ended.as_expected, f"{case.wrong}: {ended.rows}"


def test_the_snapshot_holds_every_good_clip_and_no_other(demo: Demo) -> None:
    members = demo.home.lake.rows("snapshot_members")
    assert {row["item_id"] for row in members} == DELIVERED.keys() - BLOCKED
    assert len(members) == len(DELIVERED) - len(BLOCKED) + CUTS_WITHIN
    assert {row["split"] for row in members} == {"train", "heldout"}


def test_nobody_who_could_be_recognised_is_in_the_snapshot(demo: Demo) -> None:
    shown = {
        item
        for item, clip in DELIVERED.items()
        if clip.identifiable or any(identifiable for _, identifiable in clip.persons)
    }
    assert shown, "somebody is, in what was delivered"
    assert not shown & {row["item_id"] for row in demo.home.lake.rows("snapshot_members")}


def test_no_contributor_and_no_group_of_duplicates_is_on_both_sides_of_the_split(demo: Demo) -> None:
    members = demo.home.lake.rows("snapshot_members")
    for column in ("contributor_id", "dup_group"):
        sides: dict[str, set[str]] = {}
        for row in members:
            sides.setdefault(row[column], set()).add(row["split"])
        assert {len(values) for values in sides.values()} == {1}, column


def test_nothing_that_was_delivered_is_lost(demo: Demo) -> None:
    lake = demo.home.lake
    assert lake.read("deliveries").num_rows == len(WORLD)
    assert {row["item_id"] for row in lake.rows("delivery_items")} == DELIVERED.keys()
    media = {row["item_id"]: row["state"] for row in lake.rows("media")}
    assert media.keys() == DELIVERED.keys()
    assert {item for item, state in media.items() if state == "quarantined"} == QUARANTINED
    clips = len(DELIVERED) - len(QUARANTINED) + CUTS_WITHIN
    for table in ("shots", "signals", "duplicates", "embeddings", "eligibility"):
        assert lake.read(table).num_rows == clips, table
    verdicts = Counter((row["item_id"], row["shot_index"]) for row in lake.rows("verdicts"))
    assert len(verdicts) == clips
    assert len(set(verdicts.values())) == 1, "every clip has a verdict for every check"


def test_every_consent_that_came_is_in_the_ledger_and_only_the_forged_release_was_refused(demo: Demo) -> None:
    events = Counter(row["type"] for row in demo.home.lake.rows("consent_events"))
    contributors = {delivery.contributor_id for delivery in WORLD}
    assert events["register_key"] == len(contributors) + 1, "and the platform's own"
    assert events["enrol"] == len(contributors)
    assert events["revoke"] == sum(bool(clip.revoked_by) for clip in DELIVERED.values()) > 0
    refused = sorted(row["rule"] for row in demo.home.lake.rows("consent_refusals"))
    assert refused == ["key_not_enrolled", "unknown_key"], "the key that nobody verified, and what it signed"


def test_two_people_reviewed_every_clip_that_people_may_look_at(demo: Demo) -> None:
    reviewers: dict[str, set[str]] = {}
    for row in demo.home.lake.rows("reviews"):
        reviewers.setdefault(row["clip_id"], set()).add(row["reviewer_id"])
    assert {row["clip_id"] for row in demo.home.lake.rows("snapshot_members")} <= reviewers.keys()
    assert all(names == set(REVIEWERS) for names in reviewers.values())


def test_the_warehouse_agrees_with_the_lake(demo: Demo) -> None:
    members = {row["clip_id"] for row in demo.home.lake.rows("snapshot_members")}
    assert {row["clip_id"] for row in mart(demo.home, "mart_training_eligibility") if row["eligible"]} == members
    assert len(mart(demo.home, "fct_items")) == len(DELIVERED)
    assert {row["request_id"] for row in mart(demo.home, "fct_request_fulfilment")} == REQUESTS.keys()


def test_no_asset_check_failed(demo: Demo) -> None:
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    with dg.DagsterInstance.from_config(str(demo.settings.dagster_home)) as instance:
        runs = [instance.get_records_for_run(run.run_id, of_type=kind) for run in instance.get_runs()]
    events = [record.event_log_entry.dagster_event for run in runs for record in run.records]
    checks = [event.asset_check_evaluation_data for event in events if event]
    assert {"media", "fct_clips", "training_snapshot"} <= {check.asset_key.to_user_string() for check in checks}
    severe = [check for check in checks if check.severity == dg.AssetCheckSeverity.ERROR and not check.passed]
    assert [f"{check.asset_key.to_user_string()}.{check.check_name}" for check in severe] == []


def inbox(home: Home) -> dict[str, tuple[str, int]]:
    """Digest and time of change of every file in the inbox."""
    paths = {key: home.store.fetch(key) for key in home.store.list("inbox")}
    return {key: (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for key, p in paths.items()}


def test_building_the_world_again_changes_nothing(demo: Demo) -> None:
    before, requests = inbox(demo.home), list_requests(demo.home.database_url)
    build_world(demo.home, WORLD)
    assert inbox(demo.home) == before
    assert list_requests(demo.home.database_url) == requests
    assert not any(demo.home.scratch("sample-world").iterdir())


def test_a_broken_off_delivery_is_completed_and_its_files_are_the_same(demo: Demo) -> None:
    before = inbox(demo.home)
    key = "inbox/2026-11-05/d-park/delivery.json"
    for name in ("delivery.json", "sun.mp4"):
        demo.home.store.delete(key.replace("delivery.json", name))
    build_world(demo.home, WORLD)
    assert {k: digest for k, (digest, _) in inbox(demo.home).items()} == {
        k: digest for k, (digest, _) in before.items()
    }


def test_each_delivery_carries_its_files_its_papers_and_a_manifest(demo: Demo) -> None:
    for delivery in WORLD:
        folder = f"inbox/{delivery.day}/{delivery.delivery_id}"
        names = {key.removeprefix(f"{folder}/") for key in demo.home.store.list(folder)}
        assert names == {clip.file for clip in delivery.clips} | {"consent/events.json", "delivery.json"}


def test_no_private_key_reaches_the_inbox(demo: Demo) -> None:
    for key in demo.home.store.list("inbox"):
        assert b"PRIVATE KEY" not in demo.home.store.get(key)


# -- a withdrawal, and the demo once again -------------------------------------------------------------------------------


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
    (person, delivery), *_ = [(d.contributor_id, d.delivery_id) for d in WORLD if d.contributor_id in real]
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
