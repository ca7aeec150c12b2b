"""The same where the home is a bucket: what is wrong with one object costs that object alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from assets.home import Home
from assets.ingestion.inbox import adopt_loose_folders, deliver, list_deliveries, unregistered
from assets.reasons import Code, code_of
from assets.store import S3Store
from tests.assets.ingestion.test_assets import checks, materialise
from tests.assets.ingestion.test_progress import finish, why
from tests.assets.samples import DAY, clip, encode, manifest
from tests.bucket import bucket


@pytest.fixture
def remote(home: Home, tmp_path: Path) -> Iterator[Home]:
    """A home whose store is a bucket behind a real S3-protocol server."""
    with bucket() as client:
        yield replace(home, store=S3Store(client, "rushes", "home", tmp_path / "cache"))


def test_the_same_in_an_object_store(remote: Home, video: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shoot"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(video.read_bytes())
    (folder / "delivery.json").write_text(json.dumps(manifest(clip("a.mp4"), clip("b.mp4"))))
    delivered = deliver(folder, remote, DAY)
    remote.store.put("inbox/loose/delivery.json", b"{}")
    remote.store.client.put_object(Bucket="rushes", Key=f"home/inbox/{DAY}/{delivered.folder}/bell\x07.mp4", Body=b"x")
    adopted = adopt_loose_folders(remote, DAY)
    assert list_deliveries(remote.store) == [(DAY, adopted[0]), (DAY, delivered.folder)]
    result = materialise(remote)
    assert result.success
    assert checks(result)["media.nothing_lost"]
    assert unregistered(remote) == []
    states = sorted((r["state"], [code_of(reason) for reason in r["reasons"]]) for r in remote.lake.rows("media", DAY))
    assert states == [
        ("accepted", []),
        ("quarantined", [Code.MISSING_FILE]),
        ("quarantined", [Code.NOT_IN_MANIFEST, Code.NOT_A_FILE]),
    ]


@pytest.fixture
def two(remote: Home, video: Path, tmp_path: Path) -> str:
    """A delivery of `a.mp4` and `b.mp4` in the bucket; the key below which it is."""
    folder = tmp_path / "shoot"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(video.read_bytes())
    encode(folder / "b.mp4", seed=1)
    (folder / "delivery.json").write_text(json.dumps(manifest(clip("a.mp4"), clip("b.mp4"))))
    return f"inbox/{DAY}/{deliver(folder, remote, DAY).folder}"


def codes(home: Home) -> dict[str, list[str]]:
    """By file the codes of its row in `media`."""
    names = {row["item_id"]: row["file_name"] for row in home.lake.rows("delivery_items", DAY)}
    return {names[r["item_id"]]: [code_of(reason) for reason in r["reasons"]] for r in home.lake.rows("media", DAY)}


def refuse(patch: pytest.MonkeyPatch, home: Home, name: str, status: int, code: str) -> None:
    """Whoever asks the bucket for what ends with `name` is told so."""
    for operation in ("head_object", "get_object"):
        real = getattr(home.store.client, operation)

        def asked(real=real, operation=operation, **more):  # type: ignore[no-untyped-def]
            if more["Key"].endswith(name):
                response = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
                raise ClientError(response, operation)
            return real(**more)

        patch.setattr(home.store.client, operation, asked)


@pytest.mark.parametrize(
    ("status", "code"),
    [(403, "AccessDenied"), (404, "NoSuchKey"), (412, "PreconditionFailed")],
)
def test_an_object_that_cannot_be_had_costs_itself_alone_and_is_taken_by_the_next_look(
    remote: Home, two: str, status: int, code: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        refuse(patch, remote, "b.mp4", status, code)
        result = materialise(remote)
    assert result.success
    assert codes(remote) == {"a.mp4": [], "b.mp4": [Code.FILE_GONE]}
    finish(remote)
    assert len(why(remote)) == 1
    materialise(remote)
    finish(remote)
    assert codes(remote) == {"a.mp4": [], "b.mp4": []}
    assert why(remote) == []


def test_a_manifest_that_may_not_be_read_stops_no_other_delivery(remote: Home, two: str) -> None:
    for name in ("locked", "open"):
        for where in (f"inbox/{DAY}/{name}", f"inbox/loose-{name}"):
            remote.store.put(f"{where}/delivery.json", json.dumps(manifest(delivery_id=where)).encode())
    with pytest.MonkeyPatch.context() as patch:
        for name in ("locked/delivery.json", "loose-locked/delivery.json"):
            refuse(patch, remote, name, 403, "AccessDenied")
        assert [folder.rsplit("-", 1)[0] for folder in adopt_loose_folders(remote, DAY)] == ["loose-open"]
        assert materialise(remote).success
    assert codes(remote) == {"a.mp4": [], "b.mp4": []}


def test_an_object_that_is_replaced_waits(remote: Home, two: str, video: Path) -> None:
    remote.store.put(f"{two}/b.mp4", video.read_bytes()[:2000])
    materialise(remote)
    finish(remote)
    assert codes(remote)["b.mp4"] != []
    assert why(remote) == []
    remote.store.put(f"{two}/b.mp4", video)
    assert len(why(remote)) == 1
    materialise(remote)
    finish(remote)
    assert codes(remote)["b.mp4"] == []
    assert why(remote) == []
