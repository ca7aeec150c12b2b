"""Fixtures that every test may use: homes, from an empty one to one with much to withdraw, and quiet third parties.

What takes long to make is made once for all processes of a run (`once`), and tests get copies.
"""

from __future__ import annotations

import copy
import fcntl
import gc
import os
import pickle
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from assets.home import Home

if TYPE_CHECKING:
    from assets.registry import Registry
    from tests.training.consent.people import People
    from tests.worlds import Reached, World

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",  # the suite takes one core a process already
}.items():
    os.environ.setdefault(_name, _value)

REPOSITORY = Path(__file__).resolve().parents[1]
VENDOR = Path(os.environ.get("RUSHES_VENDOR", REPOSITORY / ".vendor"))

Once = Callable[[str, Callable[[Home], Any]], tuple[Path, Any]]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An embedded installation with nothing in it; weights come from the checkout's vendor folder."""
    return Home.local(tmp_path / "home", vendor=VENDOR)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """An empty database."""
    return f"sqlite:///{tmp_path / 'rushes.db'}"


@pytest.fixture
def people(url: str) -> People:
    """A contributor, a depicted person, a guardian, a minor and an intruder, all with keys."""
    from tests.training.consent.people import People

    return People(url, "c-ann", "p-bob", "g-eve", "m-kid", "x-mal")


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """`once(name, make)`: the folder of a home that `make` filled, and what it returned, in whichever process came first."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def made(name: str, make: Callable[[Home], Any]) -> tuple[Path, Any]:
        folder, answer = base / f"once-{name}", base / f"once-{name}.pickle"
        with (base / f"once-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not answer.exists():
                shutil.rmtree(folder, ignore_errors=True)
                answer.write_bytes(pickle.dumps(make(Home.local(folder, vendor=VENDOR))))
                close_engines()
        return folder, pickle.loads(answer.read_bytes())

    return made


@pytest.fixture(scope="session")
def empty_registry(once: Once) -> Path:
    """MLflow's database with the registered model and no version: MLflow's first start takes seconds."""

    def make(home: Home) -> None:
        from assets.registry import MODEL, Registry

        Registry(home).client.create_registered_model(MODEL)

    return once("registry", make)[0] / "mlflow.db"


@pytest.fixture
def registry(home: Home, empty_registry: Path) -> Registry:
    from assets.registry import Registry

    shutil.copyfile(empty_registry, home.state / "mlflow.db")
    return Registry(home)


@pytest.fixture
def world(home: Home) -> World:
    """An empty world over an empty home."""
    from tests.worlds import World

    return World(home)


@pytest.fixture(scope="session")
def settled(once: Once) -> tuple[Path, dict[str, Any]]:
    """Four contributors with two consented, reviewed clips each: the folder of their home, and what `World` takes."""
    from tests.worlds import World

    return once("small-world", lambda home: World(home).settled().people)


@pytest.fixture
def small_world(home: Home, settled: tuple[Path, dict[str, Any]]) -> World:
    """A copy of `settled`."""
    from tests.worlds import World

    folder, people = settled
    shutil.copytree(folder, home.state, dirs_exist_ok=True)
    return World(home, **copy.deepcopy(people))


@pytest.fixture(scope="session")
def template(once: Once, empty_registry: Path) -> Reached:
    """A clean version, the champion that was trained on the clip, a candidate warm-started from that; to be copied."""
    from tests.worlds import Reached, World, reached

    def make(home: Home) -> Any:
        shutil.copyfile(empty_registry, home.state / "mlflow.db")
        at = reached(home)
        return at.world.people, (at.clip, at.root, at.size)

    folder, (people, what) = once("withdrawal", make)
    return Reached(World(Home.local(folder, vendor=VENDOR), **people), *what)


@pytest.fixture
def copied(template: Reached, tmp_path: Path) -> Callable[[], Reached]:
    """A copy of the template in a folder of its own, with the people's keys."""
    return template.copies(tmp_path)


# -- what stays open ---------------------------------------------------------------------------------------------------

_engines: weakref.WeakSet[sa.Engine] = weakref.WeakSet()
sa.event.listen(sa.Engine, "engine_connect", lambda connection: _engines.add(connection.engine))


def close_engines() -> None:
    """Close the pooled connections of every database file: a run of the tests opens more than a process may have."""
    for engine in list(_engines):
        if engine.dialect.name == "sqlite" and (engine.url.database or "").startswith("/"):
            engine.dispose()


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_engines()
    if os.sched_getscheduler(0) != os.SCHED_OTHER:  # SVT-AV1 takes a real-time priority where it may, and keeps it
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


LONGEST = (  # files that take longest, in that order: begun first, they keep no process busy at the end
    "test_demo", "test_graph", "test_histories", "test_daemon", "test_training", "test_refusals", "test_ray",
    "test_measuring", "test_killed_runs", "test_killed", "test_reach", "test_nights", "test_progress", "test_imports",
    "test_fit", "test_hostile", "test_guard_later_checks", "test_pyfunc", "test_marts", "test_bare_node",
    "test_append", "test_proof_files", "test_ledger_and_champion", "test_cli", "test_money_and_requests", "test_fuzz",
    "test_stage",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def pytest_collection_finish() -> None:
    """Let the garbage collector leave alone what is imported by now: looking through it takes a tenth of the suite."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_unconfigure() -> None:
    gc.unfreeze()


def pytest_configure() -> None:
    """Tests that need the fetched footage and networks skip on a bare checkout; where CI runs, that would hide them."""
    missing = [name for name in ("footage", "minilm", "networks", "yunet.onnx") if not (VENDOR / name).exists()]
    if os.environ.get("CI") and missing:
        raise pytest.UsageError(f"{VENDOR} lacks {', '.join(missing)}: run `make setup`")
