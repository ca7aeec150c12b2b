"""The whole graph up to the sealed snapshot: on a folder and on S3, once and again, with nothing new the second time."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av
import pytest

from assets.dataset.renditions import COMMAND as RENDER
from assets.decode.probe_pool import COMMAND as PROBE
from assets.home import Home
from assets.ingestion import inbox
from assets.requests.parse import parse_line
from assets.requests.store import Header, add_request
from assets.signals.files import BESIDE
from assets.signals.files import COMMAND as MEASURE
from orchestration.schedules import inputs_of
from tests.orchestration.graph import Graph, instance_in, settings_in
from tests.worlds import SIGNED_AT, SmallWorld, enrol

DAYS = ("2026-11-02", "2026-11-03")
DECODERS = (BESIDE, MEASURE, PROBE, RENDER)  # `BESIDE` begins as `MEASURE` does, so it is looked for first

pytestmark = pytest.mark.slow


def deliver_two_days(folder: Path, home: Home) -> None:
    """A request; two consented deliveries of three clips each, and one clip that nobody consented to."""
    add_request(
        home.database_url, parse_line("a shape, 5:3, 2 seconds, 9 clips"), SIGNED_AT, Header(request_id="r-shapes")
    )
    world = SmallWorld(folder / "outbox")
    enrol(home, "c-one", "c-two")
    inbox.deliver(world.delivery("d-one", "c-one", [1, 2, 3], DAYS[0]), home, DAYS[0])
    inbox.deliver(world.delivery("d-two", "c-two", [11, 12, 13], DAYS[1]), home, DAYS[1])
    inbox.deliver(world.delivery("d-three", "c-three", [21], DAYS[1], consented=False), home, DAYS[1])


def contents(home: Home) -> dict[str, str]:
    """Digest of every table, sealed manifest and rendition."""
    keys = [key for prefix in ("lake", "snapshots", "frames") for key in home.store.list(prefix)]
    return {key: hashlib.sha256(home.store.get(key)).hexdigest() for key in keys}


def sealed_root(home: Home) -> str:
    (root,) = {row["snapshot_root"] for row in home.lake.rows("snapshot_members")}
    return root


class Decoding:
    """Notes every process that is started to decode, and every video that this process opens to read."""

    def __init__(self) -> None:
        self.workers: list[tuple[str, ...]] = []
        self.opened: list[str] = []

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        start, open_video = subprocess.Popen.__init__, av.open

        def started(process: Any, args: Any, *more: Any, **options: Any) -> None:
            command = tuple(map(str, args))
            self.workers += [decoder for decoder in DECODERS if command[: len(decoder)] == decoder][:1]
            start(process, args, *more, **options)

        def opened(file: Any, mode: str | None = None, *args: Any, **options: Any) -> Any:
            if mode != "w":
                self.opened.append(str(file))
            return open_video(file, mode, *args, **options)

        monkeypatch.setattr(subprocess.Popen, "__init__", started)
        monkeypatch.setattr(av, "open", opened)

    def clear(self) -> None:
        self.workers.clear()
        self.opened.clear()


@pytest.fixture(scope="module")
def decoding() -> Iterator[Decoding]:
    decoding = Decoding()
    with pytest.MonkeyPatch.context() as monkeypatch:
        decoding.watch(monkeypatch)
        yield decoding


@pytest.fixture(scope="module")
def on_a_folder(tmp_path_factory: pytest.TempPathFactory, decoding: Decoding) -> Iterator[Graph]:
    """The graph over a local home, run once."""
    base = tmp_path_factory.mktemp("folder")
    with instance_in(base / "dagster") as instance:
        graph = Graph(settings_in(base), instance)
        deliver_two_days(base, graph.home)
        graph.up_to_the_snapshot(*DAYS)
        yield graph


def test_what_was_consented_to_is_sealed_and_nothing_else(on_a_folder: Graph) -> None:
    members = on_a_folder.home.lake.rows("snapshot_members")
    assert sorted(row["contributor_id"] for row in members) == ["c-one"] * 3 + ["c-two"] * 3
    assert on_a_folder.home.lake.read("shots").num_rows == 7
    assert on_a_folder.home.lake.read("coverage_gaps").num_rows > 0, "what is short of the request is known too"


def test_again_over_the_same_inputs_means_nothing_new(on_a_folder: Graph, decoding: Decoding) -> None:
    assert set(decoding.workers) == {BESIDE, RENDER}, (
        "the first time, each file is decoded once, and each member rendered"
    )
    assert decoding.opened == [], "a decoder may crash, so the run's own process opens no video"
    home, now = on_a_folder.home, datetime.now(UTC)
    before, root, inputs = contents(home), sealed_root(home), inputs_of(home, now)
    decoding.clear()
    on_a_folder.up_to_the_snapshot(*DAYS)
    assert contents(home) == before
    assert sealed_root(home) == root
    assert inputs_of(home, now) == inputs, "a refresh alone gives the next night nothing to do"
    assert decoding.workers == []
    assert decoding.opened == []


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 protocol server on loopback with a bucket in it; its address is in the environment as for real S3."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="footage")
    yield "s3://footage/night"
    server.stop()


def test_the_same_graph_seals_the_same_snapshot_on_s3(tmp_path: Path, s3: str, on_a_folder: Graph) -> None:
    with instance_in(tmp_path / "dagster") as instance:
        graph = Graph(settings_in(tmp_path, s3), instance)
        deliver_two_days(tmp_path, graph.home)
        graph.up_to_the_snapshot(*DAYS)
    root = sealed_root(graph.home)
    assert root == sealed_root(on_a_folder.home)
    assert graph.home.store.uri("lake") == "s3://footage/night/lake"
    assert f"snapshots/{root}/manifest.json" in graph.home.store.list("snapshots")
    assert not {"lake", "inbox", "media", "snapshots", "frames"} & {path.name for path in graph.home.state.iterdir()}


def test_renaming_a_delivered_file_changes_no_clip(tmp_path: Path) -> None:
    world, day = SmallWorld(tmp_path / "outbox"), DAYS[0]
    with instance_in(tmp_path / "dagster") as instance:
        graph = Graph(settings_in(tmp_path), instance)
        delivered = inbox.deliver(world.delivery("d-one", "c-one", [1, 2], day), graph.home, day)
        graph.run("intake", day)
        before = {row["clip_id"] for row in graph.home.lake.rows("shots", day)}
        folder = Path(graph.settings.home) / str(delivered)
        (folder / "scene-1.mp4").rename(folder / "holiday.mp4")
        manifest = folder / "delivery.json"
        manifest.write_text(manifest.read_text().replace("scene-1.mp4", "holiday.mp4"))
        graph.run("intake", day)
    assert len(before) == 2
    assert {row["clip_id"] for row in graph.home.lake.rows("shots", day)} == before
    names = [row["file_name"] for row in graph.home.lake.rows("delivery_items", day)]
    assert sorted(names) == ["holiday.mp4", "scene-2.mp4"], "the day's partition was replaced, not added to"
