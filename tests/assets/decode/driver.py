"""A process that has files measured: `python -m tests.assets.decode.driver SETTING STORE FOLDER NAME...`.

It prints one line of JSON: the outcomes, and the addresses that it and what it started listen on.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import psutil

from assets.decode.executor import open_executor, run
from assets.store import LocalStore
from tests.assets.decode.fakes import name_of, scripted, stored


def main(setting: str, root: str, folder: str, *names: str) -> None:
    store = LocalStore(Path(root))
    work = scripted(Path(folder))
    with open_executor(setting, store) as executor:
        found = {name_of(file): reason for file, reason in run(executor, work, stored(store, *names))}
        me = psutil.Process()
        addresses = {
            connection.laddr.ip
            for process in (me, *me.children(recursive=True))
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
    print(json.dumps({"outcomes": found, "addresses": sorted(addresses)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
