"""What the pass over a file left behind for people: a small picture of each clip, and how its signals run over time.

Read from the store's cache; nothing is decoded. A file that the cache does not have shows nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from assets.home import Home
from assets.signals.task import Measuring, result_key

Row = Mapping[str, Any]


class Remembered:
    """The cached results of files, each read when it is asked for."""

    def __init__(self, home: Home) -> None:
        self._store, self._version = home.store, Measuring.of(home).version

    def _shot(self, shot: Row) -> Row:
        key = result_key(self._version, shot["bytes_sha256"])
        if not self._store.exists(key):
            return {}
        shots = json.loads(self._store.get(key))["shots"]
        return next((one for one in shots if one["clip_id"] == shot["clip_id"]), {})

    def thumbnail(self, shot: Row) -> str | None:
        """A JPEG (base64) of the middle of a clip, a row of table `shots`."""
        return self._shot(shot).get("thumbnail")

    def curves(self, shot: Row) -> dict[str, list[list[float]]]:
        """By signal [seconds from the clip's start, value]; see `curves`."""
        return self._shot(shot).get("curves", {})
