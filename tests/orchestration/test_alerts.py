"""A failed run reaches people: the log first, then the webhook."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pytest

from assets.home import Home
from orchestration.alerts import Alert, send
from orchestration.sensors import page_failure

ALERT = Alert(job="intake", run_id="r", partition="2026-11-02", steps=("media",), reason="disk full")


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    got: list[bytes] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("RUSHES_ALERT_WEBHOOK", f"http://127.0.0.1:{server.server_port}/page")
    yield got
    server.shutdown()
    server.server_close()


def logged(home: Home) -> list[dict[str, object]]:
    return [json.loads(line) for line in (home.state / "alerts.jsonl").read_text().splitlines()]


def test_an_alert_is_logged_and_posted(home: Home, webhook: list[bytes]) -> None:
    send(home, ALERT)
    assert logged(home)[0]["reason"] == "disk full"
    assert json.loads(webhook[0])["steps"] == ["media"]


def test_a_webhook_that_fails_loses_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUSHES_ALERT_WEBHOOK", "http://127.0.0.1:9/closed")
    with pytest.raises(OSError):
        send(home, ALERT)
    assert logged(home)[0]["job"] == "intake"


def test_the_failure_sensor_names_job_asset_and_reason(home: Home) -> None:
    @dg.asset
    def media() -> None:
        raise RuntimeError("clip 7 broke the decoder")

    instance = dg.DagsterInstance.ephemeral()
    job = dg.define_asset_job("intake", selection="media").resolve(
        asset_graph=dg.Definitions([media]).resolve_asset_graph()
    )
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    context = dg.build_run_status_sensor_context(
        sensor_name="failure_sensor",
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        dagster_event=result.get_run_failure_event(),
    ).for_run_failure()
    page_failure(context, home)
    alert = logged(home)[0]
    assert alert["job"] == "intake"
    assert alert["steps"] == ["media"]
    assert "clip 7 broke the decoder" in str(alert["reason"])
