"""Alerts: a line in `alerts.jsonl` of the state folder and, where one is set, a POST to a webhook.

The log is also the webhook's outbox. The delivered offset is kept beside it, so that an alert waits until the webhook
accepts it, in order and across restarts. A lasting condition alerts once when it begins and once when it is over.
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
WEBHOOK = "RUSHES_ALERT_WEBHOOK"
TIMEOUT_S = 10.0
BUDGET_S = 30.0  # for one round of deliveries; a sensor's tick has a minute
FIRST_PAUSE_S, LONGEST_PAUSE_S = 15.0, 900.0  # after a delivery that failed; twice as long each time


@dataclass(frozen=True)
class Alert:
    """What a person on call needs first. `condition` names what is wrong and stays the same while it lasts."""

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
        retry = "Dagster runs it once more: " if will_retry(run) else ""
        return cls(
            condition=run_condition(run.run_id),
            job=run.job_name,
            run_id=run.run_id,
            partition=run.tags.get("dagster/partition"),
            steps=tuple(event.step_key or "?" for event in events),
            reason=retry + ("\n".join(errors) or context.failure_event.message or "no reason given"),
        )


def will_retry(run: dg.DagsterRun) -> bool:
    """Whether Dagster runs a failed run once more, or has begun to."""
    return run.tags.get("dagster/will_retry") == "true"


def run_condition(run_id: str | None) -> str:
    """The condition that this run failed."""
    return f"run {run_id}"


def log_path(home: Home) -> Path:
    return home.state / "alerts.jsonl"


def send(home: Home, alert: Alert, lasts: bool = False, instead_of: str = "") -> None:
    """Log the alert, then post it; what the webhook does not accept is posted again by `deliver`.

    An alert that `lasts` is resolved by `settle`. It replaces the open condition `instead_of`, which then never is.
    """
    with _locked(home, "writing"):
        _append(home, alert)
        before = _open_conditions(home)
        after = {name: reason for name, reason in before.items() if name != instead_of}
        _keep_open(home, before, after | ({alert.condition: alert.reason} if lasts else {}))
    deliver(home)


def settle(home: Home, now: Mapping[str, str], scopes: tuple[str, ...] = (), over: Iterable[str] = ()) -> None:
    """Alert on the conditions that are new in `now` (names and reasons), and on those that are over.

    Over are those named in `over`, and those whose names start with one of `scopes` and are not in `now`.
    """
    with _locked(home, "writing"):
        before = _open_conditions(home)
        for name in sorted(now.keys() - before.keys()):
            _append(home, Alert(now[name], name))
        resolved = {*over, *(name for name in before if name.startswith(scopes))} & before.keys() - now.keys()
        for name in sorted(resolved):
            _append(home, Alert(before[name], name, RESOLVED))
        after = {name: reason for name, reason in (dict(now) | before).items() if name not in resolved}
        _keep_open(home, before, after)
    deliver(home)


def deliver(home: Home) -> str | None:
    """Post what the webhook has not accepted yet, oldest first. Returns why something is left, None where nothing is."""
    url, log, place = home.alert_webhook, log_path(home), _folder(home) / "webhook.json"
    with _locked(home, "posting", wait=False) as free:
        if not free:
            return None  # another process is posting, and nobody waits for a slow webhook
        before = remembered(place)
        size = log.stat().st_size if log.is_file() else 0
        start = offset = before.get("offset", 0)
        if not url:
            offset = size  # a webhook that is set later does not get the past
        elif not _ends_a_line(log, offset):
            offset = 0  # somebody began a new log
        if url and time.time() < before.get("not_before", 0) and offset < size:
            return f"{WEBHOOK} has not accepted every alert yet ({before.get('error')})"
        error, started = None, time.monotonic()
        for line in _lines(log, offset):
            if time.monotonic() - started > BUDGET_S or (_is_alert(line) and (error := post(WEBHOOK, url or "", line))):
                break
            offset += len(line)
            _write_json(place, {"offset": offset})
        if error is None:
            if before != {"offset": offset}:
                _write_json(place, {"offset": offset})
            return None
        failures = before.get("failures", 0) + 1 if offset == start else 1
        pause = min(FIRST_PAUSE_S * 2 ** min(failures - 1, 10), LONGEST_PAUSE_S)
        after = {"offset": offset, "failures": failures, "error": error, "not_before": time.time() + pause}
        _write_json(place, after)
        return f"{WEBHOOK} has not accepted every alert yet ({error})"


def post(variable: str, url: str, body: bytes | None) -> str | None:
    """POST `body` to `url`, or GET it without a body. Returns what went wrong, None where nothing did.

    The address may hold a secret: the answer names its `variable` instead, and redirects are not followed.
    """
    if not url.startswith(("https://", "http://")):
        return f"{variable} must be an http(s) address"
    errors: list[str | None] = []
    # in a thread: a socket's timeout bounds neither the lookup of a name nor an answer that trickles in
    thread = threading.Thread(target=lambda: errors.append(_request(url, body)), daemon=True)
    thread.start()
    thread.join(TIMEOUT_S)
    return errors[0] if errors else f"no answer in {TIMEOUT_S:.0f} s"


def _request(url: str, body: bytes | None) -> str | None:
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
        """None makes a redirect an error: whoever answers must not choose where alerts go."""


def _append(home: Home, alert: Alert) -> None:
    entry = {"id": uuid.uuid4().hex, "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds")} | asdict(alert)
    line = json.dumps(entry | {"reason": alert.reason[:REASON_CHARACTERS]}, sort_keys=True).encode() + b"\n"
    with log_path(home).open("ab+") as log:
        if log.tell():
            log.seek(-1, os.SEEK_END)
            if log.read(1) != b"\n":  # a writer was killed in the middle of its line
                line = b"\n" + line
        log.write(line)
        log.flush()
        os.fsync(log.fileno())


def _lines(log: Path, offset: int) -> Iterator[bytes]:
    """The complete lines from `offset` on; the next writer ends what a killed one left half."""
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
    """Whether the line is more than the half that a killed writer left."""
    with contextlib.suppress(ValueError):
        return "id" in json.loads(line)
    return False


def _open_conditions(home: Home) -> dict[str, str]:
    return remembered(_folder(home) / "open.json")


def _keep_open(home: Home, before: Mapping[str, str], after: Mapping[str, str]) -> None:
    if after != before:
        _write_json(_folder(home) / "open.json", after)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(value, indent=1, sort_keys=True).encode())


def _folder(home: Home) -> Path:
    folder = home.state / "alerts"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def _locked(home: Home, what: str, wait: bool = True) -> Iterator[bool]:
    """One process at a time; a killed one holds nothing. False where another holds the lock and `wait` is off."""
    with (_folder(home) / f".{what}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
