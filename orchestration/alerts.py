"""Failures reach people: a line in `alerts.jsonl` of the state folder and, when set, a POST to a webhook."""

from __future__ import annotations

import json
import os
import urllib.request
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from assets.home import Home

if TYPE_CHECKING:
    import dagster as dg

REASON_CHARACTERS = 2000


@dataclass(frozen=True)
class Alert:
    """What a person on call needs first."""

    job: str
    run_id: str
    partition: str | None
    steps: tuple[str, ...]
    reason: str

    @classmethod
    def from_context(cls, context: dg.RunFailureSensorContext) -> Alert:
        run = context.dagster_run
        events = context.get_step_failure_events()
        errors = [event.step_failure_data.error_display_string or "" for event in events]
        return cls(
            job=run.job_name,
            run_id=run.run_id,
            partition=run.tags.get("dagster/partition"),
            steps=tuple(event.step_key or "?" for event in events),
            reason=("\n".join(errors) or context.failure_event.message or "no reason given")[:REASON_CHARACTERS],
        )


def send(home: Home, alert: Alert) -> None:
    """Append to the alert log first: a webhook that fails loses nothing, and its failure is raised to the sensor."""
    line = json.dumps(asdict(alert), sort_keys=True)
    with (home.state / "alerts.jsonl").open("a", encoding="utf-8") as log:
        log.write(line + "\n")
    if url := os.environ.get("RUSHES_ALERT_WEBHOOK"):
        if not url.startswith(("https://", "http://")):
            raise ValueError("RUSHES_ALERT_WEBHOOK must be an http(s) address")
        request = urllib.request.Request(url, line.encode(), {"Content-Type": "application/json"}, method="POST")
        urllib.request.urlopen(request, timeout=10).close()
