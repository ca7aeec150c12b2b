"""What all commands share: the home, consoles, tables, and which errors are for the person at the keyboard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from assets.home import Home
from orchestration.settings import Settings

stdout = Console()
stderr = Console(stderr=True)


def home() -> Home:
    """The home that the environment names."""
    from orchestration.resources import open_home

    return open_home(Settings.from_env())


def errors_to_show() -> tuple[type[BaseException], ...]:
    """Errors whose message says what, where and what to do."""
    return (ValueError, LookupError, FileNotFoundError, PermissionError, RuntimeError)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    found = Table(title=title, title_justify="left", header_style="bold", show_edge=False, pad_edge=False)
    for column in columns:
        found.add_column(column, overflow="fold")
    for row in rows:
        found.add_row(*("" if cell is None else str(cell) for cell in row))
    return found


def facts(pairs: Mapping[str, Any]) -> Table:
    """Names and values, one a line."""
    found = Table(show_header=False, show_edge=False, box=None, pad_edge=False)
    found.add_column(style="bold")
    found.add_column(overflow="fold")
    for name, value in pairs.items():
        if value not in (None, "", []):
            found.add_row(name, str(value))
    return found


def short(digest: str | None, length: int = 12) -> str:
    return (digest or "")[:length]
