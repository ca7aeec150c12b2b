"""This platform as a wheel, so that a model's package runs where the platform was never installed.

The project is on no index (its package names are generic on purpose), so a requirement by name would be met by nothing, or by
a stranger's. The wheel has the code that generates and marks, and asks for the libraries that this needs. Its version ends in
a digest of the code; the same code makes the same bytes.

Reference: the binary distribution format, https://packaging.python.org/specifications/binary-distribution-format/
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version as installed
from pathlib import Path

import training

PROJECT = "rushes"
ROOT = Path(training.__file__).resolve().parents[1]  # the folder that holds the packages
PACKAGES = ("assets", "training")
LEFT_OUT = ("training/bases", "__pycache__")  # the bases' weights, which no model needs that was trained
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can say


def build_wheel(folder: Path, requires: Sequence[str]) -> Path:
    """Write the wheel into `folder`; returns its path. `requires` are requirements such as `numpy` or `torch>=2`."""
    files = _sources()
    names = "\n".join(f"{name} {hashlib.sha256(data).hexdigest()}" for name, data in files.items())
    version = f"{installed(PROJECT)}+{hashlib.sha256(names.encode()).hexdigest()[:12]}"
    info = f"{PROJECT}-{version}.dist-info"
    asked = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    about = f"Metadata-Version: 2.1\nName: {PROJECT}\nVersion: {version}\nLicense: Apache-2.0\n{asked}"
    files[f"{info}/METADATA"] = about.encode()
    files[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: {PROJECT}\nRoot-Is-Purelib: true\nTag: py3-none-any\n".encode()
    )
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    path = folder / f"{PROJECT}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, LONG_AGO), data, zipfile.ZIP_DEFLATED)
    return path


def _sources() -> dict[str, bytes]:
    """The packages' files by their path in the wheel, sorted."""
    paths = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    named = {path.relative_to(ROOT).as_posix(): path for path in paths}
    return {name: path.read_bytes() for name, path in named.items() if not any(part in name for part in LEFT_OUT)}


def _record(files: Mapping[str, bytes], itself: str) -> bytes:
    """Every file with its digest and size; the list itself has neither."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.writerow((name, f"sha256={digest}", len(data)))
    rows.writerow((itself, "", ""))
    return out.getvalue().encode()
