"""Alerts reach people: a line in `alerts.jsonl` of the state folder and, when set, a POST to a webhook.

The log is the webhook's outbox as well: how far it was delivered stands beside it, so that an alert is kept until the
webhook took it, in order, over restarts. A lasting condition is told once when it begins and once when it is over.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import itertools
import json
import os
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.home import Home
from assets.store import remembered, write_atomically

if TYPE_CHECKING:
    import dagster as dg

REASON_CHARACTERS = 2000
OPEN, RESOLVED = "open", "resolved"
WEBHOOK, HEARTBEAT_URL = "RUSHES_ALERT_WEBHOOK", "RUSHES_HEARTBEAT_URL"
TIMEOUT_S = 10.0
BUDGET_S = 30.0  # for one round of deliveries; a sensor's tick has a minute
FIRST_PAUSE_S, LONGEST_PAUSE_S = 15.0, 900.0  # after a delivery that failed; twice as long each time


@dataclass(frozen=True)
class Alert:
    """What a person on call needs first. `condition` names what is wrong, the same name as long as it lasts."""

    reason: str
    condition: str = ""
    state: str = OPEN
    job: str = ""
    run_id: str = ""
    partition: str | None = None
    steps: tuple[str, ...] = ()

    @classmethod
    def from_context(cls, context: dg.RunFailureSensorContext) -> Alert:
        run = context.dagster_run
        events = context.get_step_failure_events()
        errors = [event.step_failure_data.error_display_string or "" for event in events]
        again = "Dagster runs it once more: " if run_again(run) else ""
        return cls(
            condition=of_run(run.run_id),
            job=run.job_name,
            run_id=run.run_id,
            partition=run.tags.get("dagster/partition"),
            steps=tuple(event.step_key or "?" for event in events),
            reason=again + ("\n".join(errors) or context.failure_event.message or "no reason given"),
        )


def run_again(run: dg.DagsterRun) -> bool:
    """Whether Dagster runs a failed run once more, or has begun to."""
    return run.tags.get("dagster/will_retry") == "true"


def of_run(run_id: str | None) -> str:
    """The condition that this run failed."""
    return f"run {run_id}"


def log_path(home: Home) -> Path:
    return home.state / "alerts.jsonl"


def send(home: Home, alert: Alert, lasts: bool = False, instead_of: str = "") -> None:
    """Log the alert, then try the webhook; a webhook that fails gets it later, see `deliver`.

    One that `lasts` is told to be over by `settle`, unless another was sent instead of it.
    """
    with _locked(home, "writing"):
        _append(home, alert)
        known = _open_conditions(home)
        left = {name: reason for name, reason in known.items() if name != instead_of}
        if lasts:
            left[alert.condition] = alert.reason
        if left != known:
            _write_json(_folder(home) / "open.json", left)
    deliver(home)


def settle(home: Home, now: Mapping[str, str], scopes: tuple[str, ...] = (), over: Iterable[str] = ()) -> None:
    """Alert of the conditions that are new in `now` (names and reasons), and of those that are over.

    Over are those named in `over`, and those whose names start with one of `scopes` and are not in `now`.
    """
    with _locked(home, "writing"):
        known = _open_conditions(home)
        for name in sorted(now.keys() - known.keys()):
            _append(home, Alert(now[name], name))
        gone = {*over, *(name for name in known if name.startswith(scopes))} & known.keys() - now.keys()
        for name in sorted(gone):
            _append(home, Alert(known[name], name, RESOLVED))
        left = {name: reason for name, reason in (dict(now) | known).items() if name not in gone}
        if left != known:
            _write_json(_folder(home) / "open.json", left)
    deliver(home)


def deliver(home: Home) -> str | None:
    """Post what the webhook has not taken yet, oldest first; says why something is left, None where nothing is."""
    url, log, place = os.environ.get(WEBHOOK), log_path(home), _folder(home) / "webhook.json"
    with _locked(home, "posting", wait=False) as free:
        if not free:
            return None  # somebody else is at it, and nobody waits for a slow webhook
        before = remembered(place)
        size = log.stat().st_size if log.is_file() else 0
        offset = before.get("offset", 0)
        if not url:
            offset = size  # whoever sets one later is not told of the past
        elif not _ends_a_line(log, offset):
            offset = 0  # somebody began a new log
        if url and time.time() < before.get("not_before", 0) and offset < size:
            return f"{WEBHOOK} has not taken every alert yet ({before.get('error')})"
        error, started = None, time.monotonic()
        for line in _lines(log, offset):
            if time.monotonic() - started > BUDGET_S or (_is_alert(line) and (error := post(WEBHOOK, line))):
                break
            offset += len(line)
            _write_json(place, {"offset": offset})
        if error is None:
            if before != {"offset": offset}:
                _write_json(place, {"offset": offset})
            return None
        failures = before.get("failures", 0) + 1 if offset == before.get("offset", 0) else 1
        pause = min(FIRST_PAUSE_S * 2 ** min(failures - 1, 10), LONGEST_PAUSE_S)
        after = {"offset": offset, "failures": failures, "error": error, "not_before": time.time() + pause}
        _write_json(place, after)
        return f"{WEBHOOK} has not taken every alert yet ({error})"


def post(variable: str, body: bytes | None) -> str | None:
    """POST `body` to the address in this variable, or GET it where there is none; what went wrong, None where nothing.

    The address may hold a secret, so it is never repeated, and nothing follows it elsewhere.
    """
    url = os.environ.get(variable, "")
    if not url.startswith(("https://", "http://")):
        return f"{variable} must be an http(s) address"
    said: list[str | None] = []
    # in a thread, since the time-out of a socket bounds neither the look-up of a name nor an answer that trickles
    asking = threading.Thread(target=lambda: said.append(_ask(url, body)), daemon=True)
    asking.start()
    asking.join(TIMEOUT_S)
    return said[0] if said else f"no answer in {TIMEOUT_S:.0f} s"


def _ask(url: str, body: bytes | None) -> str | None:
    try:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"} if body else {})
        urllib.request.build_opener(_NoRedirects).open(request, timeout=TIMEOUT_S).close()
    except urllib.error.HTTPError as error:
        error.close()
        return f"HTTP {error.code}"
    except Exception as error:  # malformed addresses raise all sorts of errors, which quote them
        cause = getattr(error, "reason", error)
        return (cause.strerror if isinstance(cause, OSError) else None) or type(cause).__name__
    return None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: object, **named: object) -> None:
        """None makes the redirect an error: whoever answers must not choose where alerts go."""


def _append(home: Home, alert: Alert) -> None:
    told = {"id": uuid.uuid4().hex, "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds")} | asdict(alert)
    line = json.dumps(told | {"reason": alert.reason[:REASON_CHARACTERS]}, sort_keys=True).encode() + b"\n"
    path = log_path(home)
    with path.open("ab+") as log:
        if log.tell():
            log.seek(-1, os.SEEK_END)
            if log.read(1) != b"\n":  # a writer was killed in the middle of its line
                line = b"\n" + line
        log.write(line)
        log.flush()
        os.fsync(log.fileno())


def _lines(log: Path, offset: int) -> Iterator[bytes]:
    """The complete lines from `offset` on; what a killed writer left half is for the next one to end."""
    if log.is_file():
        with log.open("rb") as lines:
            lines.seek(offset)
            yield from itertools.takewhile(lambda line: line.endswith(b"\n"), lines)


def _ends_a_line(log: Path, offset: int) -> bool:
    if offset == 0 or not log.is_file():
        return offset == 0
    with log.open("rb") as lines:
        lines.seek(offset - 1)
        return lines.read(1) == b"\n"


def _is_alert(line: bytes) -> bool:
    """Not the half of a line that a killed writer left."""
    with contextlib.suppress(ValueError):
        return "id" in json.loads(line)
    return False


def _open_conditions(home: Home) -> dict[str, str]:
    return remembered(_folder(home) / "open.json")


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(value, indent=1, sort_keys=True).encode())


def _folder(home: Home) -> Path:
    folder = home.state / "alerts"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def _locked(home: Home, what: str, wait: bool = True) -> Iterator[bool]:
    """One process at a time; a killed one holds nothing. False where another holds it and nobody waits."""
    with (_folder(home) / f".{what}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
