"""A work whose child is a script: it dies, hangs or answers as the file's name says, and logs every file it begins.

`python -m tests.assets.decode.fakes SETTING STORE FOLDER NAME...` has files measured in a process of its own. It prints
one line of JSON: the outcomes, and the addresses that it and what it started listen on.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from assets.decode.executor import open_executor, run
from assets.decode.process import Limits
from assets.signals.files import File, Measuring, pass_version
from assets.store import LocalStore, Store

# a file's content is its name
SCRIPT = """
import json, os, sys, time
print("ready", flush=True)
for line in sys.stdin:
    name = open(json.loads(line)["path"]).read()
    with open({log!r}, "a") as log:
        log.write(f"{{name}} {{os.getpid()}} {{os.getppid()}}\\n")
    with open({environment!r}, "w") as file:
        file.write("\\n".join(os.environ))
    if "dies" in name:
        os.abort()
    if "silent" in name:
        time.sleep(600)
    while "held" in name and not os.path.exists({go!r}):
        time.sleep(0.05)
    if "slow" in name:
        for _ in range(6):
            time.sleep(0.2)
            print("pulse", flush=True)
    time.sleep({seconds})
    print(json.dumps({{"shots": [name]}}), flush=True)
"""


def scripted(folder: Path, seconds: float = 0.0, **limits: Any) -> Measuring:
    """Measuring by `SCRIPT`; its log is `folder / "log"`, and `folder / "go"` lets go of what is held."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "child.py"
    script.write_text(
        SCRIPT.format(
            log=str(folder / "log"), go=str(folder / "go"), environment=str(folder / "environment"), seconds=seconds
        )
    )
    return Measuring(pass_version(None), None, (), Limits(**limits), (sys.executable, str(script)))


def stored(store: Store, *names: str) -> list[File]:
    """Files in the store whose content is their name."""
    files = []
    for name in names:
        store.put(f"media/{name}", name.encode())
        files.append(File(hashlib.sha256(name.encode()).hexdigest(), f"media/{name}"))
    return files


@dataclass(frozen=True)
class Begun:
    """A file that a child began."""

    name: str
    child: int
    parent: int


def log_of(folder: Path) -> list[Begun]:
    """What children began, in order."""
    log = folder / "log"
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [Begun(name, int(child), int(parent)) for name, child, parent in lines]


def counted(folder: Path) -> Counter[str]:
    """How often each file was begun."""
    return Counter(begun.name for begun in log_of(folder))


def holds(folder: Path, count: int) -> list[Begun]:
    """The held files, once `count` of them were begun."""
    deadline = time.monotonic() + 90
    while len(held := [begun for begun in log_of(folder) if "held" in begun.name]) < count:
        assert time.monotonic() < deadline, f"{len(held)} of {count} were begun"
        time.sleep(0.05)
    return held


def name_of(file: File) -> str:
    return file.media_key.removeprefix("media/")


# -- a process that has files measured -------------------------------------------------------------------------------


def main(setting: str, root: str, folder: str, *names: str) -> None:
    store = LocalStore(Path(root))
    work = scripted(Path(folder))
    with open_executor(setting, store) as executor:
        outcomes = {name_of(file): reason for file, reason in run(executor, work, stored(store, *names))}
        me = psutil.Process()
        addresses = {
            connection.laddr.ip
            for process in (me, *me.children(recursive=True))
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
    print(json.dumps({"outcomes": outcomes, "addresses": sorted(addresses)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
