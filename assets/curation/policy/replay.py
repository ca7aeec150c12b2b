"""Decide the corpus again from stored values: what another policy would change, and the change itself.

What belongs here: walking the days, comparing and writing. Nothing is decoded and no file is opened: only rows of the
lake are read, one day at a time, so memory follows the largest day and not the corpus. How a check is decided is in
`verdicts`.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from assets.curation.policy.policy import Policy
from assets.curation.policy.verdicts import Key, Row, blocks, decide, read_evidence
from assets.home import Home

EXAMPLES = 3
_COMPARED = ["item_id", "shot_index", "check", "check_version", "threshold", "verdict", "severity"]
Before = Mapping[Key, Mapping[str, Row]]


@dataclass
class Moved:
    """What one check says otherwise than was recorded."""

    check: str
    threshold: str | None = None  # of the policy; None where each clip is held against what is declared of it
    threshold_before: str | None = None  # as recorded
    newly_passing: int = 0
    newly_failing: int = 0  # or undecided: what passed, and does not any more
    otherwise: int = 0  # between failed and undecided, or decided for the first time
    newly_blocking: int = 0  # also where only the severity is another
    newly_harmless: int = 0
    examples: list[str] = field(default_factory=list)  # clip_ids


@dataclass
class Replay:
    """The corpus under another policy. A clip is good when nothing that blocks stands against it."""

    policy: str
    policies_before: Counter[str] = field(default_factory=Counter)  # clips by the policy that decided them
    clips: int = 0
    good_before: int = 0
    good_after: int = 0
    newly_good: int = 0
    newly_refused: int = 0
    checks: list[Moved] = field(default_factory=list)  # in the policy's order, those that judge a clip otherwise
    days: int = 0
    days_written: dict[str, str] = field(default_factory=dict)  # day: SHA-256 of its table, where it was replaced

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for programs."""
        return asdict(self)


def replay(
    home: Home,
    policy: Policy,
    days: Sequence[str] | None = None,
    *,
    write: bool = False,
    say: Callable[[int, int], None] = lambda done, total: None,
) -> Replay:
    """Decide the days (all with clips, when not given) by `policy` and compare with the verdicts that are stored.

    With `write` the verdicts are replaced, day by day; what was interrupted is finished by doing it again. `say` is told
    (days done, days in all).
    """
    days = home.lake.partitions("shots") if days is None else days
    walk = _Walk(Replay(policy.name), policy)
    for done, day in enumerate(days):
        say(done, len(days))
        rows = walk.decide(home, day)
        if write:
            _write(home, day, rows, walk.replay.days_written)
        else:
            for _ in rows:
                pass
    say(len(days), len(days))
    walk.replay.days = len(days)
    walk.replay.checks = [moved for moved in walk.moved.values() if moved.examples]
    return walk.replay


def _write(home: Home, day: str, rows: Iterator[Row], written: dict[str, str]) -> None:
    key = home.lake.key("verdicts", day)
    was = hashlib.sha256(home.store.get(key)).hexdigest() if home.store.exists(key) else None
    now = home.lake.write("verdicts", rows, day).sha256
    if now != was:
        written[day] = now


class _Walk:
    """Counts while rows go by, so that no more than a day is ever held."""

    def __init__(self, replay: Replay, policy: Policy) -> None:
        self.replay, self.policy = replay, policy
        self.moved = {
            check.name: Moved(check.name, check.threshold if check.column else None) for check in policy.checks
        }

    def decide(self, home: Home, day: str) -> Iterator[Row]:
        """The verdicts of a day, counted as they are taken."""
        stored = _stored(home, day)
        for evidence in read_evidence(home, day):
            rows = decide(evidence, self.policy)
            key = evidence.shot["item_id"], evidence.shot["shot_index"]
            self._clip(rows, stored.get(key, {}))
            yield from rows

    def _clip(self, rows: Sequence[Row], before: Mapping[str, Row]) -> None:
        replay = self.replay
        was_good = bool(before) and not any(map(blocks, before.values()))
        is_good = not any(map(blocks, rows))
        replay.clips += 1
        replay.good_before += was_good
        replay.good_after += is_good
        replay.newly_good += is_good and not was_good
        replay.newly_refused += was_good and not is_good
        decided_by = next((row["check_version"].partition("/")[0] for row in before.values()), "none")
        replay.policies_before[decided_by] += 1
        for row in rows:
            old = before.get(row["check"])
            if old is None or (old["verdict"], old["severity"]) != (row["verdict"], row["severity"]):
                self._move(row, old)

    def _move(self, row: Row, old: Row | None) -> None:
        moved = self.moved[row["check"]]
        was, now = old["verdict"] if old else None, row["verdict"]
        moved.newly_passing += was not in (None, "pass") and now == "pass"
        moved.newly_failing += was == "pass" and now != "pass"
        moved.otherwise += was != now and (was is None or "pass" not in (was, now))
        was_blocking = old is not None and blocks(old)
        moved.newly_blocking += blocks(row) and not was_blocking
        moved.newly_harmless += was_blocking and not blocks(row)
        if moved.threshold is not None and old is not None:
            moved.threshold_before = old["threshold"]
        if len(moved.examples) < EXAMPLES:
            moved.examples.append(row["clip_id"])


def _stored(home: Home, day: str) -> Before:
    """What is recorded of a day's clips, by clip and check."""
    rows: dict[Key, dict[str, Row]] = defaultdict(dict)
    for row in home.lake.read("verdicts", day, _COMPARED).to_pylist():
        rows[row["item_id"], row["shot_index"]][row["check"]] = row
    return rows
