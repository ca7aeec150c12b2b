"""`python -m training.export --model DIR --base DIR --out DIR`: a tuned model as a folder that diffusers opens by itself.

The folder is the base's, with its transformer replaced by the tuned one; an adapter is merged into it, and lies beside it as
`pytorch_lora_weights.safetensors`. README.md says what it rests on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from training.model.base_folder import PARTS, UNCOVERED, BaseError
from training.model.diffusers_base import Tuned, is_tuned, load_tuned

ADAPTER = "pytorch_lora_weights.safetensors"  # the name that load_lora_weights looks for
CARD = """---
license: {licence}
base_model: {name}
---

Tuned ({tuning}) from {name}, SHA-256 {sha256}, licence {licence}: {uncovered}.
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.export", description="Write a tuned model for diffusers.")
    parser.add_argument("--model", required=True, help="folder of a model that was tuned from a base")
    parser.add_argument("--base", required=True, help="folder of that base")
    parser.add_argument("--out", required=True, help="folder to write; it must not exist")
    given = parser.parse_args(arguments)
    try:
        export(Path(given.model), Path(given.base), Path(given.out))
    except (BaseError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def export(model_dir: Path, base_folder: Path, out: Path) -> Path:
    """Write the folder, whole or not at all. Raises BaseError for a model of our own, OSError for a folder that is there."""
    if not is_tuned(model_dir):
        raise BaseError(f"{model_dir}: was not tuned from a base, so diffusers has no class for it")
    if out.exists():
        raise FileExistsError(f"{out} exists already")
    model = load_tuned(model_dir, base_folder)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        _write(model, model_dir, partial)
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _write(model: Tuned, model_dir: Path, folder: Path) -> None:
    base = model.base
    folder.mkdir(parents=True)
    for part in PARTS:
        if part != "transformer":
            shutil.copytree(base.path / part, folder / part)
    shutil.copyfile(base.path / "model_index.json", folder / "model_index.json")
    for licence in base.path.glob("LICEN[SC]E*"):
        shutil.copyfile(licence, folder / licence.name)
    if model.lora:
        shutil.copyfile(model_dir / "transformer.safetensors", folder / ADAPTER)
        model.transformer.fuse_lora()
        model.transformer.unload_lora()
    model.transformer.save_pretrained(str(folder / "transformer"), safe_serialization=True)
    (folder / "README.md").write_text(CARD.format(tuning=model.tuning, uncovered=UNCOVERED, **base.facts))
