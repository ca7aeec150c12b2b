"""The dataset stage over an S3 bucket: the same root as on a local folder, and local views of remote files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

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
