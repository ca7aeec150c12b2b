"""What a machine does that trains for another one: `python -m assets.model.node STORE JOB`, or `train` in a task of Ray.

A node shares the store and the ledger's database with the machine that asks, and nothing else. It prepares the same run
over a home of its own, takes the newest checkpoint from the store, runs the group's processes, and puts checkpoints,
records and results back. Then it forgets what it read: footage that is withdrawn must not stay on machines that nobody asks.
It needs the same Rushes and the same weights, and its own access to both: credentials of the
store, and RUSHES_DATABASE_URL where the ledger's address holds a password.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from assets.consent.sealed_members import manifest_key
from assets.dataset.sealed import Sealed
from assets.home import Home
from assets.model import latents, launch, published
from assets.model.config import Plan, Task, code_version
from assets.model.launcher import Group
from assets.model.mirror import PIPES, Mirror
from assets.store import Address
from training.config import TrainConfig
from training.consent.canonical import parse_strictly, sha256_hex

DATABASE, CACHE = "RUSHES_DATABASE_URL", "cache"


class UnfitNode(RuntimeError):
    """A machine that cannot train what it is asked to. Says why and what to do."""


@dataclass(frozen=True)
class Job:
    """A run as other machines are told of it. It holds no secret."""

    plan: Mapping[str, Any]  # the fields of a Plan
    task: Task
    store: Mapping[str, Any]  # the fields of an Address
    database_url: str  # empty where it holds a password: the node has its own
    spread: Mapping[str, Any] = field(default_factory=dict)
    pipes: Mapping[str, str] = field(default_factory=dict)  # Dagster's context of the run, as environment variables

    @classmethod
    def of(cls, home: Home, plan: Plan, task: Task, spread: Mapping[str, Any]) -> Job:
        from sqlalchemy.engine import make_url

        fields = {name: getattr(plan, name) for name, item in Plan.__dataclass_fields__.items() if item.init}
        plain = {name: dict(value) if isinstance(value, Mapping) else value for name, value in fields.items()}
        url = "" if make_url(home.database_url).password else home.database_url
        return cls(plain, task, asdict(home.store.address), url, dict(spread))

    @property
    def settings(self) -> dict[str, Any]:
        """What a node must know of the home's training settings: how its run is spread, and how its clips are cut."""
        return {**self.spread, "size": self.plan["codec"].get("size", TrainConfig.size)}

    @property
    def key(self) -> str:
        return f"runs/{Plan(**self.plan).run_name(self.task)}/job.json"


def train(job: Job, group: Group) -> int:
    """This node's part of the run, to its end; the exit code of its processes. Raises UnfitNode."""
    plan = Plan(**job.plan)
    if plan.code_version != code_version():
        raise UnfitNode(
            f"this node has other code ({code_version()}, not {plan.code_version}): install the same Rushes"
        )
    home = _home(job, group.rank)
    with launch.alone(home):
        _forget(home)  # what a killed one left
        try:
            return _train(job, group, home, plan)
        finally:
            _forget(home)


def _train(job: Job, group: Group, home: Home, plan: Plan) -> int:
    path = home.store.fetch(manifest_key(plan.snapshot_root))
    sealed = Sealed(plan.snapshot_root, parse_strictly(path.read_text("utf-8")), path)
    if job.task == "transformer":
        _encode_captions(home, plan, sealed)
    started = launch.prepare_fit(home, plan, sealed, job.task)
    mirror = Mirror(home.store, plan.run_name(job.task), started.run_dir)
    mirror.fetch()
    first = group.rank == 0
    with mirror.following() if first else nullcontext():
        env = os.environ | started.env | (_pipes(job, started.run_dir) if first else {})
        code = subprocess.run(group.command(started.command), env=env, cwd=started.cwd, check=False).returncode
    if first:
        mirror.put_results(job.task)
    return code


def _forget(home: Home) -> None:
    """Remove all that was fetched and made here, but for the locks that processes hold."""
    shutil.rmtree(home.state / CACHE, ignore_errors=True)
    for folder in (home.state / "scratch").iterdir():
        if folder.name != "training":
            shutil.rmtree(folder)


def _home(job: Job, rank: int) -> Home:
    """A home over the shared store, with a state folder of this node's own."""
    database = os.environ.get(DATABASE) or job.database_url
    if not database:
        raise UnfitNode(f"set {DATABASE} on this node: the ledger's address holds a password, which is not passed on")
    name, _, file = database.partition(":///")
    if name == "sqlite" and not Path(file).is_file():
        raise UnfitNode(f"{file} is not on this node: share its folder, or keep the ledger in PostgreSQL")
    place = sha256_hex(json.dumps(dict(job.store), sort_keys=True).encode())[:12]
    own = Path(tempfile.gettempdir()) / f"rushes-node-{os.getuid()}"
    own.mkdir(mode=0o700, exist_ok=True)
    if own.is_symlink() or own.stat().st_uid != os.getuid():
        raise UnfitNode(f"{own} belongs to somebody else: remove it, or set TMPDIR")
    state = own / place / str(rank)
    state.mkdir(parents=True, exist_ok=True)
    store = Address(**job.store).open(state / CACHE)
    return Home.local(state, store=store, database_url=database, training=job.settings)


def _encode_captions(home: Home, plan: Plan, sealed: Sealed) -> None:
    """Captions are encoded where they are read: their tokens are a cache of each machine, and not in the store."""
    codec_dir = published.local_folder(home, plan.model_key, ("codec",))
    if latents.missing_texts(home, sealed, codec_dir):
        work = home.scratch("captions")
        config = latents.encode_config(home, sealed, codec_dir, work / "latents")
        started = launch.prepare(home, "training.encode", work, config)
        subprocess.run(started.command, env=os.environ | started.env, cwd=started.cwd, check=True)


def _pipes(job: Job, run_dir: Path) -> dict[str, str]:
    """Dagster's variables, with messages to a file that the mirror puts up."""
    if not job.pipes:
        return {}
    from dagster_pipes import DAGSTER_PIPES_MESSAGES_ENV_VAR, encode_param

    (run_dir / PIPES).write_bytes(b"")
    return {**job.pipes, DAGSTER_PIPES_MESSAGES_ENV_VAR: encode_param({"path": str(run_dir / PIPES)})}


def main(arguments: list[str]) -> int:
    """The job of a key in a store; a pod of an Indexed Job says which node it is."""
    place, key = arguments
    with tempfile.TemporaryDirectory() as cache:
        address = Address(place, os.environ.get("AWS_ENDPOINT_URL"), os.environ.get("AWS_REGION"))
        job = Job(**json.loads(address.open(Path(cache)).get(key)))
    group = Group(
        processes=int(os.environ.get("RUSHES_PROCESSES", 1)),
        rank=int(os.environ.get("JOB_COMPLETION_INDEX", 0)),
        nodes=int(os.environ.get("RUSHES_NODES", 1)),
        host=os.environ.get("RUSHES_FIRST_NODE", "127.0.0.1"),
    )
    try:
        return train(job, group)
    except UnfitNode as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
