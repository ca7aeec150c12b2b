"""Whether SQLite would read a whole ledger to answer a question."""

from __future__ import annotations

import re
import sqlite3
from typing import Any

# `rowid<?` is an index in name only: everything ahead of the newest event
_WHOLE = re.compile(r"SCAN consent_|SEARCH consent_\w+ USING INTEGER PRIMARY KEY \(rowid<\?\)")


def reading_all(url: str, asked: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    """(statement, step of its plan) for each step that costs by the ledger's length. `url` is an SQLite database's."""
    raw = sqlite3.connect(url.removeprefix("sqlite:///"))
    try:
        return [
            (statement, row[3])
            for statement, parameters in asked
            for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            if _WHOLE.match(row[3]) and "LIMIT" not in statement
        ]
    finally:
        raw.close()
