"""What all commands share: the home, consoles, tables, and which errors are for the person at the keyboard."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from assets.home import Home
from assets.reasons import printable
from orchestration.settings import Settings, open_home

stdout = Console()
stderr = Console(stderr=True)

# errors whose message says what, where and what to do: our own, and the system's about files and databases
ERRORS_TO_SHOW = (ValueError, LookupError, OSError, RuntimeError, SQLAlchemyError, duckdb.Error)


def home() -> Home:
    """The home that the environment names."""
    return open_home(Settings.load())


def message_of(error: BaseException) -> str:
    """What went wrong, in one line: without the quotes that Python puts around a KeyError, and without the SQL."""
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    if cause := getattr(error, "orig", None):  # the driver's, beneath SQLAlchemy's
        message = f"the database of this home: {cause}"
    return " ".join(str(message).split()) or type(error).__name__


def plain(value: Any, limit: int = 1000) -> str:
    """A value for the terminal: what came from outside is neither markup nor a control sequence."""
    return "" if value is None else escape(printable(str(value), limit))


def say(text: str) -> None:
    """Print one line; rich markup in it counts, so values go through `plain`."""
    stdout.print(text, highlight=False)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    result = Table(title=title, title_justify="left", header_style="bold", show_edge=False, pad_edge=False)
    for column in columns:
        result.add_column(column, overflow="fold")
    for row in rows:
        result.add_row(*map(plain, row))
    return result


def facts(pairs: Mapping[str, Any]) -> Table:
    """Names and values, one a line; empty ones are left out."""
    result = Table(show_header=False, show_edge=False, box=None, pad_edge=False)
    result.add_column(style="bold")
    result.add_column(overflow="fold")
    for name, value in pairs.items():
        if value not in (None, "", []):
            result.add_row(name, plain(value))
    return result


def short(digest: str | None, length: int = 12) -> str:
    return (digest or "")[:length]


def open_page(path: Path, wanted: bool) -> None:
    """Open a page in the browser where there is a screen, and print where it is in any case."""
    screen = not sys.platform.startswith("linux") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if wanted and screen:  # without a screen this would start a text browser in the terminal of the command
        webbrowser.open(path.as_uri())
    stdout.print(plain(path), soft_wrap=True, highlight=False)
