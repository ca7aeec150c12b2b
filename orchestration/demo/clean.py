"""`make clean`: remove an installation's data, and ask first where it holds what cannot be made again.

What the demo made can: its ledger is of the sample world's people alone. A ledger of others, and keys, cannot.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from orchestration.demo.deliveries import DELIVERIES
from orchestration.demo.people import FORGED_PERSON
from orchestration.settings import DEFAULT_HOME
from training.consent.events import PLATFORM
from training.consent.ledger import LedgerMissing, LedgerReader

KEYS = ("*.key", "*.pem")
ANSWER = "delete"


def at_stake(folder: Path) -> list[str]:
    """What would be lost for good, in words; empty for a home that the demo alone made."""
    people = folder / "demo_people"
    strangers = _strangers(folder / "rushes.db")
    lost = [f"the ledger, which is not only of the demo's people: {', '.join(strangers)}"] if strangers else []
    made_by_demo = {people, folder / "keys"} if people.is_dir() and not strangers else {people}
    if others := sorted(p for kind in KEYS for p in folder.rglob(kind) if not made_by_demo & set(p.parents)):
        lost.append(f"private keys: {', '.join(str(path.relative_to(folder)) for path in others[:5])}")
    return lost


def _strangers(database: Path) -> list[str]:
    """Who is in the ledger and not of the sample world, at most five; one that cannot be read is nobody's to delete."""
    if not database.is_file():
        return []
    expected = {PLATFORM, FORGED_PERSON, *(delivery.contributor_id for delivery in DELIVERIES)}
    try:
        events = LedgerReader(f"sqlite:///{database}").iter_events()
        return sorted({event.body["party_id"] for event in events} - expected)[:5]
    except LedgerMissing:
        return []
    except Exception as error:  # a newer schema, a damaged file
        return [f"it cannot be read ({type(error).__name__})"]


def clean(folder: Path) -> int:
    """Delete the folder, if need be after a person confirmed it; the exit code."""
    if lost := at_stake(folder):
        print(f"{folder} holds what cannot be made again:", *lost, sep="\n  ", file=sys.stderr)
        if not sys.stdin.isatty():
            print("nothing was deleted: run `make clean` in a terminal and confirm it", file=sys.stderr)
            return 1
        if input(f"Type {ANSWER!r} to delete it: ").strip() != ANSWER:
            print("nothing was deleted", file=sys.stderr)
            return 1
    if folder.exists():
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(clean(Path(DEFAULT_HOME)))
