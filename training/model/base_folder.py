"""A pretrained base: a folder that holds a whole pipeline as diffusers saves it. What it is, its digest, its licence.

    model_index.json  transformer/  vae/  text_encoder/  tokenizer/  scheduler/

Nobody here saw what such a base was trained on, and no consent in our ledger covers it. So whatever is tuned from one names
it wherever it is described: name, digest, licence, and UNCOVERED. Nothing is fetched, and only safetensors are read. Needs
no torch; `diffusers_base` loads the parts.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.consent.canonical import file_sha256
from training.model.config import ConfigError

PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")
WEIGHTS = ("transformer", "vae", "text_encoder")
IDENTITY = (".safetensors", ".json", ".model", ".txt")  # suffixes of the files that the digest is over
UNCOVERED = "training data not covered by this platform"
FACTS = ("name", "sha256", "licence")  # what every document says of a base, beside UNCOVERED


class BaseError(ConfigError):
    """A folder that cannot be a base. Says what is missing or unknown, and what to do."""


@dataclass(frozen=True)
class Family:
    """What models of one kind have in common, by the class names of diffusers and transformers."""

    name: str
    pipeline: str
    transformer: str
    vae: str
    text_encoders: tuple[str, ...]
    text_length: int  # tokens that a caption is padded or cut to
    masked: (
        bool  # whether the transformer is told which of them are padding; if not, padding is zeros that it attends to
    )


FAMILIES = {
    family.pipeline: family
    for family in (
        Family(
            "LTX", "LTXPipeline", "LTXVideoTransformer3DModel", "AutoencoderKLLTXVideo", ("T5EncoderModel",), 128, True
        ),
        Family("Wan", "WanPipeline", "WanTransformer3DModel", "AutoencoderKLWan", ("UMT5EncoderModel",), 512, False),
    )
}
REFUSED = {
    "CogVideoXPipeline": "CogVideoX learns v-prediction on a DDPM schedule, and training here is flow matching",
}
# by how the text of a licence begins; the longest names first
LICENCES = {
    "apache-2.0": re.compile(r"Apache License\s+Version 2\.0", re.I),
    "mit": re.compile(r"\bMIT License\b", re.I),
    "bsd-3-clause": re.compile(r"BSD 3-Clause", re.I),
}


@dataclass(frozen=True)
class BaseFolder:
    """A folder that can be tuned."""

    path: Path
    family: Family
    sha256: str
    licence: str
    index: Mapping[str, Any]  # model_index.json

    @property
    def facts(self) -> dict[str, str]:
        """What everything that is tuned from it says of it."""
        return {"name": self.path.name, "family": self.family.name, "sha256": self.sha256, "licence": self.licence}


def read_base(folder: str | Path, licence: str = "") -> BaseFolder:
    """The base in a folder; `licence` says its licence where the folder does not. Raises BaseError."""
    path = Path(folder).expanduser().resolve()
    index = _json(path / "model_index.json")
    family = _family(path, index)
    for part in PARTS:
        if not (path / part).is_dir():
            raise BaseError(f"base {path}: has no folder {part}/")
    for part in WEIGHTS:
        if not list((path / part).glob("*.safetensors")):
            raise BaseError(f"base {path}: {part}/ holds no safetensors; other formats can run code and are not read")
    return BaseFolder(path, family, digest(path), licence or _licence(path), index)


def is_base(folder: str | Path) -> bool:
    """Whether a folder claims to hold a pipeline."""
    return (Path(folder) / "model_index.json").is_file()


def facts_of(folder: str | Path) -> dict[str, str]:
    """What a model in a folder says of the base that it was tuned from; empty where it was tuned from none."""
    path = Path(folder) / "codec.json"
    return dict(json.loads(path.read_text()).get("base") or {}) if path.is_file() else {}


def require_unchanged(folder: str | Path, sha256: str) -> None:
    """Raise BaseError unless the folder holds the base of this digest: what was tuned fits no other."""
    if not is_base(folder):
        raise BaseError(f"no base at {folder}; a model that was tuned from one needs it to answer")
    if (now := digest(Path(folder))) != sha256:
        raise BaseError(f"base {folder}: has digest {now[:12]}, and the model was tuned from {sha256[:12]}")


def _family(path: Path, index: Mapping[str, Any]) -> Family:
    name = index.get("_class_name")
    if why := REFUSED.get(str(name)):
        raise BaseError(f"base {path}: {why}")
    if name not in FAMILIES:
        raise BaseError(f"base {path}: holds a {name}; known are {', '.join(FAMILIES)}")
    family = FAMILIES[str(name)]
    if not str((index.get("scheduler") or [None, None])[1]).endswith("Scheduler"):
        raise BaseError(f"base {path}: model_index.json names no scheduler")
    if (index.get("transformer_2") or [None, None])[1]:
        raise BaseError(
            f"base {path}: has two transformers, one for each half of the noise; only one can be tuned here"
        )
    for part, known in (
        ("transformer", (family.transformer,)),
        ("vae", (family.vae,)),
        ("text_encoder", family.text_encoders),
    ):
        if (index.get(part) or [None, None])[1] not in known:
            raise BaseError(f"base {path}: {part} is {index.get(part)}, a {name} has {' or '.join(known)}")
    return family


def digest(path: Path) -> str:
    """Identity of the base: SHA-256 over names and digests of the files that it is loaded from. Hashed once a process."""
    files = tuple(_files(path))
    return _digest(path, files, tuple((path / name).stat().st_mtime_ns for name in files))


@functools.lru_cache(maxsize=8)
def _digest(path: Path, files: tuple[str, ...], changed: tuple[int, ...]) -> str:
    lines = "".join(f"{file_sha256(path / name)}  {name}\n" for name in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _files(path: Path) -> Iterator[str]:
    yield "model_index.json"
    for part in PARTS:
        for file in sorted((path / part).rglob("*")):
            if file.suffix in IDENTITY and file.is_file():
                yield file.relative_to(path).as_posix()


def _licence(path: Path) -> str:
    """The licence that the folder names: in the front matter of its README.md, or in a LICENSE file that is known."""
    readme = _text(path / "README.md")
    front = readme.split("\n---", 1)[0] if readme.startswith("---") else ""
    stated = {key: value.strip("\"' ") for key, value in re.findall(r"^(license|license_name):\s*(.+)$", front, re.M)}
    name = stated.get("license", "")
    name = stated.get("license_name", "") if name in ("", "other") else name
    if name:
        return name
    for file in sorted(path.glob("LICEN[SC]E*")):
        if known := next((name for name, text in LICENCES.items() if text.search(_text(file)[:2000])), ""):
            return known
    raise BaseError(f"base {path}: its licence is not known; set base_licence to the licence under which you have it")


def _text(path: Path) -> str:
    return path.read_text("utf-8", errors="replace") if path.is_file() else ""


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BaseError(f"{path.parent} is no base: model_index.json cannot be read ({error})") from error
    if not isinstance(value, dict):
        raise BaseError(f"{path} must hold a JSON object")
    return value
