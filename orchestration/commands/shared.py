"""What all commands share: the home, consoles, tables, and which errors are for the person at the keyboard."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from assets.home import Home
from assets.reasons import printable
from orchestration.settings import Settings

stdout = Console()
stderr = Console(stderr=True)


def home() -> Home:
    """The home that the environment names."""
    from orchestration.resources import open_home

    return open_home(Settings.from_env())


def errors_to_show() -> tuple[type[Exception], ...]:
    """Errors whose message says what, where and what to do: our own, and the system's about files and databases."""
    import duckdb
    from sqlalchemy.exc import SQLAlchemyError

    return (ValueError, LookupError, OSError, RuntimeError, SQLAlchemyError, duckdb.Error)


def message_of(error: BaseException) -> str:
    """What went wrong, in one line: without the quotes that Python puts around a KeyError, and without the SQL."""
    said = error.args[0] if isinstance(error, KeyError) and error.args else error
    if cause := getattr(error, "orig", None):  # the driver's, beneath SQLAlchemy's
        said = f"the database of this home: {cause}"
    return " ".join(str(said).split()) or type(error).__name__


def plain(value: Any, limit: int = 1000) -> str:
    """A value for the terminal, as it is: what came from outside is neither markup nor a control sequence."""
    return "" if value is None else escape(printable(str(value), limit))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    found = Table(title=title, title_justify="left", header_style="bold", show_edge=False, pad_edge=False)
    for column in columns:
        found.add_column(column, overflow="fold")
    for row in rows:
        found.add_row(*map(plain, row))
    return found


def facts(pairs: Mapping[str, Any]) -> Table:
    """Names and values, one a line."""
    found = Table(show_header=False, show_edge=False, box=None, pad_edge=False)
    found.add_column(style="bold")
    found.add_column(overflow="fold")
    for name, value in pairs.items():
        if value not in (None, "", []):
            found.add_row(name, plain(value))
    return found


def short(digest: str | None, length: int = 12) -> str:
    return (digest or "")[:length]


def open_page(path: Path, wanted: bool) -> None:
    """Open a page in the browser where there is one to open, and say where it is in any case."""
    import webbrowser

    screen = not sys.platform.startswith("linux") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if wanted and screen:  # without a screen this would start a browser of text, in the terminal that we ask in
        webbrowser.open(path.as_uri())
    stdout.print(plain(path), soft_wrap=True, highlight=False)
