"""Where bytes live: one small interface over a local folder and an S3 bucket.

A key is a relative POSIX path (`media/ab/cd/<sha256>.mp4`). A write is whole or not there at all: local writes go to
a temporary name, are flushed and renamed; an S3 PUT is atomic by itself. Nothing here knows what the bytes mean.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

BODY_PAUSES_S = (0.5, 2.0, 8.0)  # before an object whose body broke off is read again


class Store(Protocol):
    """The object operations that the platform needs, no more."""

    def put(self, key: str, data: bytes | Path) -> None:
        """Write `data` (bytes, or a file's content) under `key`, replacing what is there atomically."""

    def get(self, key: str) -> bytes:
        """The bytes under `key`; raises FileNotFoundError."""

    def exists(self, key: str) -> bool: ...

    def list(self, prefix: str) -> Iterator[str]:
        """Keys below `prefix`, sorted. Names that start with a dot are unfinished or private and are left out."""

    def stamped(self, prefix: str) -> Iterator[tuple[str, str]]:
        """As `list`, each key with a text that is another once what it names was replaced."""

    def folders(self, prefix: str) -> tuple[str, ...]:
        """Names of the folders directly below `prefix`, sorted; costs nothing for what lies deeper."""

    def delete(self, key: str) -> None:
        """Remove `key`, if it is there."""

    def fetch(self, key: str) -> Path:
        """A local, read-only file with the content of `key` (itself for a local store, a cached copy for S3)."""

    def release(self, key: str) -> None:
        """Give back the room of a fetched copy; what is stored stays."""

    def uri(self, key: str) -> str:
        """Where a person finds it."""

    @property
    def address(self) -> Address:
        """Where another machine finds the store."""


@dataclass(frozen=True)
class Address:
    """Where a store is, as another machine is told: no client and no credentials, which are that machine's own."""

    place: str  # a folder, or s3://bucket/prefix
    endpoint: str | None = None
    region: str | None = None

    @property
    def remote(self) -> bool:
        """Whether it is a bucket, which outlives any machine."""
        return self.place.startswith("s3://")

    def open(self, cache: Path) -> Store:
        """The store; `cache` is for what is fetched from a bucket. Raises FileNotFoundError where it is missing."""
        if not self.remote:
            if not (folder := Path(self.place)).is_dir():
                raise FileNotFoundError(f"{folder} is not a folder on {platform.node()}: share it, or use a bucket")
            return LocalStore(folder)
        bucket, _, prefix = self.place.removeprefix("s3://").partition("/")
        return S3Store(_client(self.endpoint, self.region), bucket, prefix, cache)


@lru_cache
def _client(endpoint: str | None, region: str | None) -> Any:
    """A client with this machine's own credentials."""
    import boto3

    return boto3.client("s3", endpoint_url=endpoint, region_name=region)


def safe_key(key: str) -> str:
    """The key, or ValueError where it could leave the store or carry control characters."""
    parts = key.split("/")
    if key.startswith("/") or ".." in parts or "" in parts or any(ord(c) < 32 or ord(c) == 127 for c in key):
        raise ValueError(f"not a safe storage key: {key!r}")
    return key


def _hidden(key: str) -> bool:
    return any(part.startswith(".") for part in key.split("/"))


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary name in the same folder to write to: flushed to disk and renamed to `path`, or not there at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-", suffix=path.suffix)
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.chmod(0o644)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, data: bytes | Path) -> None:
    with whole(path) as draft:
        if isinstance(data, Path):
            shutil.copyfile(data, draft)
        else:
            draft.write_bytes(data)


def remembered(path: Path) -> dict[str, Any]:
    """A small JSON object that was written to this file; empty where it is missing or cannot be read.

    For what only spares a repetition: a file that a failing disk tore must stop nobody.
    """
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


class LocalStore:
    """A folder."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root).resolve()

    def path(self, key: str) -> Path:
        return self.root / safe_key(key)

    def put(self, key: str, data: bytes | Path) -> None:
        write_atomically(self.path(key), data)

    def get(self, key: str) -> bytes:
        return self.path(key).read_bytes()

    def exists(self, key: str) -> bool:
        return self.path(key).is_file()

    def list(self, prefix: str) -> Iterator[str]:
        base = self.root / safe_key(prefix.rstrip("/")) if prefix.strip("/") else self.root
        keys = (p.relative_to(self.root).as_posix() for p in base.rglob("*") if p.is_file())
        yield from sorted(key for key in keys if not _hidden(key))

    def stamped(self, prefix: str) -> Iterator[tuple[str, str]]:
        for key in self.list(prefix):
            entries = self.path(key).stat()
            yield key, f"{entries.st_size} {entries.st_mtime_ns}"

    def folders(self, prefix: str) -> tuple[str, ...]:
        base = self.root / safe_key(prefix.rstrip("/"))
        names = (entry.name for entry in os.scandir(base) if entry.is_dir()) if base.is_dir() else ()
        return tuple(sorted(name for name in names if not _hidden(name)))

    def delete(self, key: str) -> None:
        self.path(key).unlink(missing_ok=True)

    def fetch(self, key: str) -> Path:
        path = self.path(key)
        if not path.is_file():
            raise FileNotFoundError(f"nothing is stored under {key!r} in {self.root}")
        return path

    def release(self, key: str) -> None:
        """Nothing was copied."""

    def uri(self, key: str) -> str:
        return self.path(key).as_uri()

    @property
    def address(self) -> Address:
        return Address(str(self.root))


class S3Store:
    """A prefix of an S3 bucket, through a boto3 client (dagster-aws makes it)."""

    def __init__(self, client: Any, bucket: str, prefix: str, cache: Path) -> None:
        self.client, self.bucket, self.prefix, self.cache = client, bucket, prefix.strip("/"), Path(cache)

    def _name(self, key: str) -> str:
        return f"{self.prefix}/{safe_key(key)}" if self.prefix else safe_key(key)

    def put(self, key: str, data: bytes | Path) -> None:
        if isinstance(data, Path):
            self.client.upload_file(str(data), self.bucket, self._name(key))
        else:
            self.client.put_object(Bucket=self.bucket, Key=self._name(key), Body=data)

    def get(self, key: str) -> bytes:
        from botocore.exceptions import FlexibleChecksumError, HTTPClientError, IncompleteReadError

        for pause_s in BODY_PAUSES_S:
            try:
                return self._read(key)
            except (
                HTTPClientError,
                IncompleteReadError,
                FlexibleChecksumError,
            ):  # the client tries requests again, but no body
                time.sleep(pause_s * random.uniform(0.5, 1.5))
        return self._read(key)

    def _read(self, key: str) -> bytes:
        with self._as_files_do(key):
            return self.client.get_object(Bucket=self.bucket, Key=self._name(key))["Body"].read()

    def _etag(self, key: str) -> str | None:
        try:
            with self._as_files_do(key):
                return self.client.head_object(Bucket=self.bucket, Key=self._name(key))["ETag"]
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def _as_files_do(self, key: str) -> Iterator[None]:
        """What is wrong with one object is an OSError, as of a file: whoever reads many goes on with the others."""
        try:
            yield
        except self.client.exceptions.ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if status == 404 and error.response["Error"]["Code"] != "NoSuchBucket":
                raise FileNotFoundError(f"nothing is stored under {self.uri(key)}") from None
            if status == 403:  # also of an object that was moved to an archive
                raise PermissionError(errno.EACCES, "the store refuses to give it", self.uri(key)) from error
            if status == 412:
                raise OSError(errno.ESTALE, "it changed while it was read", self.uri(key)) from error
            raise

    def exists(self, key: str) -> bool:
        return self._etag(key) is not None

    def list(self, prefix: str) -> Iterator[str]:
        yield from (key for key, _ in self.stamped(prefix))

    def stamped(self, prefix: str) -> Iterator[tuple[str, str]]:
        below = (
            self._name(prefix.rstrip("/")) + "/" if prefix.strip("/") else (self.prefix + "/" if self.prefix else "")
        )
        cut = len(self.prefix) + 1 if self.prefix else 0
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=below):
            for entry in page.get("Contents", []):  # S3 lists in key order
                if not _hidden(key := entry["Key"][cut:]):
                    yield key, entry["ETag"]

    def folders(self, prefix: str) -> tuple[str, ...]:
        below = self._name(prefix.rstrip("/")) + "/"
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=below, Delimiter="/")
        names = (part["Prefix"][len(below) : -1] for page in pages for part in page.get("CommonPrefixes", []))
        return tuple(sorted(name for name in names if not _hidden(name)))

    def delete(self, key: str) -> None:
        if etag := self._etag(key):
            self._cached(key, etag).unlink(missing_ok=True)  # what was fetched before goes with it
        self.client.delete_object(Bucket=self.bucket, Key=self._name(key))

    def fetch(self, key: str) -> Path:
        etag = self._etag(key)
        if etag is None:
            raise FileNotFoundError(f"nothing is stored under {self.uri(key)}")
        path = self._cached(key, etag)
        if not path.is_file():
            self._download(key, path)
        return path

    def _download(self, key: str, path: Path) -> None:
        """In parts, whatever the size."""
        with whole(path) as draft, self._as_files_do(key):
            self.client.download_file(self.bucket, self._name(key), str(draft))

    def _cached(self, key: str, etag: str) -> Path:
        """Keyed by content, so that a replaced object is never served from the cache."""
        digest = hashlib.sha256(f"{self.bucket}/{self._name(key)}/{etag}".encode()).hexdigest()
        return self.cache / digest[:2] / f"{digest}{Path(key).suffix}"

    def release(self, key: str) -> None:
        if etag := self._etag(key):
            self._cached(key, etag).unlink(missing_ok=True)

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{self._name(key)}"

    @property
    def address(self) -> Address:
        meta = self.client.meta
        return Address(f"s3://{self.bucket}/{self.prefix}", meta.endpoint_url, meta.region_name)
