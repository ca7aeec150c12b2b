"""Alerts reach people: the log first, then the webhook, which gets each of them once it can."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pytest

from assets.evaluation.promotion import read_heartbeat
from assets.home import Home
from orchestration import alerts
from orchestration.alerts import Alert, deliver, send, settle
from orchestration.sensors import page_failure

ALERT = Alert(job="intake", run_id="r", partition="2026-11-02", steps=("media",), reason="disk full")


@dataclass
class Receiver:
    """A webhook: what it got, and what it answers from now on."""

    home: Home  # whose alerts are posted here
    url: str = ""
    answer: int = 204
    got: list[bytes] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def reasons(self) -> list[str]:
        return [json.loads(body)["reason"] for body in self.got]


@pytest.fixture
def webhook(home: Home) -> Iterator[Receiver]:
    receiver = Receiver(home)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            receiver.asked.append(self.path)
            if receiver.answer < 300:
                receiver.got.append(body)
            self.send_response(receiver.answer)
            if 300 <= receiver.answer < 400:
                self.send_header("Location", f"{receiver.url}/elsewhere")
            self.end_headers()

        def do_GET(self) -> None:
            receiver.asked.append(self.path)
            self.send_response(receiver.answer)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    receiver.home = replace(home, alert_webhook=f"{receiver.url}/s3cret")
    yield receiver
    server.shutdown()
    server.server_close()


def logged(home: Home) -> list[dict[str, object]]:
    return [json.loads(line) for line in (home.state / "alerts.jsonl").read_text().splitlines()]


def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """After every pause."""
    now = time.time()
    monkeypatch.setattr(alerts.time, "time", lambda: now + alerts.LONGEST_PAUSE_S + 1)


def test_an_alert_is_logged_and_posted(home: Home, webhook: Receiver) -> None:
    send(webhook.home, ALERT)
    assert logged(home)[0]["reason"] == "disk full"
    assert json.loads(webhook.got[0])["steps"] == ["media"]


def test_alerts_wait_for_a_webhook_that_fails_and_come_once_and_in_order(
    webhook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook.answer = 503
    for name in ("one", "two", "three"):
        send(webhook.home, Alert(name))
    assert len(webhook.asked) == 1, "it is left in peace for a while"
    assert "503" in (deliver(webhook.home) or "")
    webhook.answer = 204
    later(monkeypatch)
    send(webhook.home, Alert("four"))
    assert webhook.reasons == ["one", "two", "three", "four"]
    assert deliver(webhook.home) is None
    assert len(webhook.got) == 4


def test_the_half_line_of_a_killed_writer_is_neither_posted_nor_in_the_way(webhook: Receiver) -> None:
    send(webhook.home, Alert("one"))
    with (webhook.home.state / "alerts.jsonl").open("a") as log:
        log.write('{"reason": "hal')
    send(webhook.home, Alert("two"))
    assert webhook.reasons == ["one", "two"]


@pytest.mark.parametrize("torn", ["", '{"offset": 1', "[]", "\x00\x00"])
@pytest.mark.parametrize("name", ["alerts/open.json", "alerts/webhook.json", "heartbeat.json"])
def test_what_a_failing_disk_tore_stops_no_alert(webhook: Receiver, name: str, torn: str) -> None:
    settle(webhook.home, {"night: missed": "one"})
    (webhook.home.state / name).write_text(torn)
    settle(webhook.home, {"night: missed": "one", "champion: unknown": "two"})
    assert "two" in webhook.reasons
    assert read_heartbeat(webhook.home) == {}


def test_alerts_in_a_log_that_was_emptied_are_posted_where_it_grew_past_the_old_one(
    home: Home, webhook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(webhook.home, Alert("old"))
    os.truncate(home.state / "alerts.jsonl", 0)
    with monkeypatch.context() as undelivered:
        undelivered.setattr(alerts, "deliver", lambda home: None)
        send(webhook.home, Alert("new, and longer than the one before"))
    deliver(webhook.home)
    assert webhook.reasons == ["old", "new, and longer than the one before"]


def test_a_webhook_whose_answer_trickles_is_not_waited_for(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time for the socket."""
    monkeypatch.setattr(alerts, "TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def trickle() -> None:
            asking, _ = server.accept()
            with contextlib.suppress(OSError), asking:
                for _ in range(100):
                    asking.sendall(b"H")
                    time.sleep(0.3)

        threading.Thread(target=trickle, daemon=True).start()
        slow = replace(home, alert_webhook=f"http://127.0.0.1:{server.getsockname()[1]}/")
        started = time.monotonic()
        send(slow, ALERT)
    assert time.monotonic() - started < 3
    assert "no answer" in (deliver(slow) or "")


def test_nobody_waits_for_somebody_else_s_slow_delivery(home: Home, webhook: Receiver) -> None:
    with alerts._locked(home, "posting"):
        send(webhook.home, ALERT)
    assert logged(home)[0]["reason"] == "disk full"
    assert webhook.got == []
    deliver(webhook.home)
    assert len(webhook.got) == 1


def test_alerts_do_not_follow_a_webhook_elsewhere(webhook: Receiver) -> None:
    webhook.answer = 307
    send(webhook.home, ALERT)
    assert webhook.asked == ["/s3cret"]
    assert "307" in (deliver(webhook.home) or "")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/s3cret", "ftp://s3cret", "http://h\x01/s3cret", "http://[s3cret"])
def test_a_webhook_that_cannot_be_reached_loses_nothing_and_its_address_stays_secret(home: Home, url: str) -> None:
    home = replace(home, alert_webhook=url)
    send(home, ALERT)
    problem = deliver(home)
    assert problem
    assert "s3cret" not in problem
    assert "s3cret" not in repr(home)
    assert logged(home)[0]["job"] == "intake"
    assert not [file for file in home.state.rglob("*.json*") if "s3cret" in file.read_text()]


def test_a_webhook_that_is_set_later_is_not_told_of_the_past(home: Home, webhook: Receiver) -> None:
    send(home, Alert("past"))
    send(webhook.home, Alert("now"))
    assert webhook.reasons == ["now"]


def test_a_condition_alerts_when_it_begins_and_when_it_is_over_and_not_in_between(home: Home) -> None:
    for _ in range(3):
        settle(home, {"night: missed": "did not begin"}, ("night: ",))
    settle(home, {"night: missed": "did not begin", "check: a.b": "failed"}, ("night: ",))
    settle(home, {}, ("night: ",))
    settle(home, {}, ("night: ",))
    settle(home, {}, over=["check: a.b", "check: never.was"])
    settle(home, {"night: missed": "again"}, ("night: ",))
    assert [(line["condition"], line["state"]) for line in logged(home)] == [
        ("night: missed", "open"),
        ("check: a.b", "open"),
        ("night: missed", "resolved"),
        ("check: a.b", "resolved"),
        ("night: missed", "open"),
    ]


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
