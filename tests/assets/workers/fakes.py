"""A work whose child is a script: it dies, hangs or answers as the file's name says, and logs every file it begins."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

from assets.curation.measuring import File, Measuring, pass_version
from assets.ingestion.verdict import Limits
from assets.store import Store

# a file's content is its name
SCRIPT = """
import json, os, sys, time
print("ready", flush=True)
for line in sys.stdin:
    name = open(json.loads(line)["path"]).read()
    with open({log!r}, "a") as log:
        log.write(f"{{name}} {{os.getpid()}} {{os.getppid()}}\\n")
    if "dies" in name:
        os.abort()
    if "silent" in name:
        time.sleep(600)
    if "slow" in name:
        for _ in range(6):
            time.sleep(0.2)
            print("pulse", flush=True)
    time.sleep({seconds})
    print(json.dumps({{"shots": [name]}}), flush=True)
"""


def scripted(folder: Path, seconds: float = 0.0, **limits: Any) -> Measuring:
    """Measuring by `SCRIPT`; its log is `folder / "log"`."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "child.py"
    script.write_text(SCRIPT.format(log=str(folder / "log"), seconds=seconds))
    return Measuring(pass_version(None), None, (), Limits(**limits), (sys.executable, str(script)))


def stored(store: Store, *names: str) -> list[File]:
    """Files in the store whose content is their name."""
    files = []
    for name in names:
        store.put(f"media/{name}", name.encode())
        files.append(File(hashlib.sha256(name.encode()).hexdigest(), f"media/{name}"))
    return files


def begun(folder: Path) -> list[str]:
    """Names of the files that children began, in order."""
    log = folder / "log"
    return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []


def name_of(file: File) -> str:
    return file.media_key.removeprefix("media/")
