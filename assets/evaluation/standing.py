"""What a person on call has to know of the champion: whether one serves, whether it may, and whether nights still end well.

Reading only: `promotion` moves the alias; when and whom to alert is decided by whoever watches.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from assets.consent.standing import standing_violations
from assets.home import Home
from assets.model.published import exposure_of
from assets.registry.versions import CHAMPION, Registry
from assets.store import remembered

CHECK = "something_serves"  # the check on the asset `champion` that shows this
HEARTBEAT = "heartbeat.json"  # in the state folder; whoever watches the nights writes it
LATE = timedelta(hours=26)  # since the last night that ended well: a day, and time for the night itself
WATCHED = timedelta(hours=1)  # since somebody last watched; after that, nobody expects nights
NOTHING, FORBIDDEN, UNKNOWN, STOPPED = "nothing serves", "must not serve", "unknown", "nights stopped"


@dataclass(frozen=True)
class Standing:
    """The version that serves (None if none does or nobody can tell), and what is wrong, by kind.

    `expected` is whether anything could serve: in a new home, no model was registered yet.
    """

    serving: str | None
    wrong: dict[str, str] = field(default_factory=dict)
    expected: bool = True

    @property
    def serious(self) -> bool:
        """Whether consent may forbid what is served, or nobody can tell."""
        return bool(self.wrong.keys() & {FORBIDDEN, UNKNOWN})

    def __str__(self) -> str:
        return "; ".join(self.wrong.values()) or f"version {self.serving} serves"


def standing_of(home: Home, now: datetime) -> Standing:
    """Ask the registry, the ledger and the heartbeat."""
    return with_nights(home, champion_of(home), now)


def champion_of(home: Home) -> Standing:
    """Ask the registry and the ledger. What cannot be asked is unknown, never assumed."""
    try:
        return _champion(home)
    except Exception as error:  # whatever the client of a registry or a database raises; its text may hold a password
        why = f"it is unknown what serves: the registry or the ledger cannot be read ({type(error).__name__})"
        return Standing(None, {UNKNOWN: why})


def with_nights(home: Home, standing: Standing, now: datetime) -> Standing:
    """The same, and whether nights still end well."""
    late = _late(read_heartbeat(home), now)
    return replace(standing, wrong=standing.wrong | ({STOPPED: late} if late else {}))


def _champion(home: Home) -> Standing:
    registry = Registry(home)
    versions = registry.versions()
    version = next((version for version in versions if CHAMPION in version.aliases), None)
    if version is None:
        return Standing(None, {NOTHING: "no version serves"}, expected=bool(versions))
    wrong = version.taint
    if wrong is None and (violations := standing_violations(home, *exposure_of(home, version))):
        wrong = f"consent does not hold for {violations[0]}"
    forbidden = {FORBIDDEN: f"version {version.number} serves and must not: {wrong}"} if wrong else {}
    return Standing(version.number, forbidden)


def read_heartbeat(home: Home) -> dict[str, Any]:
    """What was written last: `night`, `since` and `looked_at` in ISO 8601; empty if nobody ever watched."""
    return remembered(home.state / HEARTBEAT)


def _late(heartbeat: dict[str, Any], now: datetime) -> str | None:
    looked_at, night, since = (_moment(heartbeat.get(name)) for name in ("looked_at", "night", "since"))
    if not (looked_at and since) or now - looked_at > WATCHED:
        return None
    last = max(time for time in (night, since) if time)
    if now - last <= LATE:
        return None
    hours = (now - last).total_seconds() / 3600
    return f"no night ended well for {hours:.0f} hours" + ("" if night else ", since the schedule was started")


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
