"""The dataset stage over an S3 bucket: the same root as on a local folder, and local views of remote files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError
from botocore.response import StreamingBody

from assets.dataset import renditions
from assets.dataset.sealed import consent_violation, defects
from assets.dataset.snapshot import build
from assets.dataset.views import local_view
from assets.home import Home
from assets.store import S3Store
from training.consent.times import now_utc


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import boto3
    from moto import mock_aws

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="rushes")
        yield client


def test_a_snapshot_on_object_storage_is_the_one_on_disk(small_world: Any, bucket: Any) -> None:
    local: Home = small_world.home
    now = now_utc()
    expected = build(local, now).sealed
    remote = replace(local, store=S3Store(bucket, "rushes", "site", local.scratch("cache")))
    for name in [*local.store.list("lake"), *local.store.list("media")]:
        if "snapshot_members" not in name:
            remote.store.put(name, local.store.get(name))
    built = build(remote, now)
    assert built.sealed.root == expected.root
    assert remote.store.get(f"snapshots/{expected.root}/manifest.json") == expected.path.read_bytes()
    assert defects(remote, built.sealed) == []
    assert consent_violation(remote, built.sealed) == {}

    rendered = renditions.render_all(remote, built.sealed.members)
    view = local_view(remote, rendered.keys)
    assert sorted(path.name for path in view.iterdir()) == [
        f"{clip_id}.safetensors" for clip_id in sorted(expected.clip_ids)
    ]
    assert all(path.stat().st_size for path in view.iterdir())


@pytest.mark.parametrize("broken", [1, 3, 9])
def test_a_body_that_breaks_off_is_read_again(
    home: Home, bucket: Any, monkeypatch: pytest.MonkeyPatch, broken: int
) -> None:
    """The client's own retries end once the answer has begun."""
    monkeypatch.setattr("assets.store.BODY_PAUSES_S", (0.0, 0.0, 0.0))
    store = S3Store(bucket, "rushes", "site", home.scratch("cache"))
    store.put("media/a", b"whole")
    errors = [ResponseStreamingError(error="reset"), ReadTimeoutError(endpoint_url="s3"), IncompleteReadError(
        actual_bytes=1, expected_bytes=5)] * 3  # fmt: skip
    read = StreamingBody.read

    def breaks(body: StreamingBody, amt: int | None = None) -> bytes:
        nonlocal broken
        broken -= 1
        if broken >= 0:
            raise errors[broken]
        return read(body, amt=amt)

    monkeypatch.setattr(StreamingBody, "read", breaks)
    if broken > 3:
        with pytest.raises(BotoCoreError):
            store.get("media/a")
    else:
        assert store.get("media/a") == b"whole"
