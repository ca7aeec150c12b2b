"""One decode for the verdict and the measurements: the same of both as when each opens the file by itself."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assets.decode.probe_pool import ProbePool
from assets.decode.process import Children, Limits
from assets.home import Home
from assets.ingestion.inbox import Entry
from assets.ingestion.intake import Intake, take_in
from assets.ingestion.origin import MarkReader
from assets.reasons import Code, code_of
from assets.signals.files import BesideProbe, Measuring, beside_probe, measure_files, result_key
from assets.signals.single_pass import Pass, measure
from assets.signals.worker import judged_and_measured
from tests.assets.curation.test_stage import DAYS, FPS, media_row, pan
from tests.assets.samples import encode
from training.data.video import write_mp4

DIES = """
import json, sys
from dataclasses import asdict
from assets.decode.probe_pool import ProbeResult
print("ready", flush=True)
for line in sys.stdin:
    if "plugins" in json.loads(line):
        sys.exit(1)
    print(json.dumps({"probe": asdict(ProbeResult(codec="alone")), "beside": None}), flush=True)
"""


def no_pulse() -> None:
    pass


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Two shots."""
    return write_mp4(tmp_path / "film.mp4", np.concatenate([pan(1, 32), pan(2, 32)]), FPS)


def request_for(path: Path) -> dict[str, Any]:
    return {"path": str(path), "faces": None, "plugins": {}}


def plain(answer: Any) -> Any:
    return json.loads(json.dumps(answer))


@pytest.mark.parametrize("sound", [False, True])
def test_one_decode_gives_what_two_decodes_give(film: Path, tmp_path: Path, sound: bool) -> None:
    path = encode(tmp_path / "sound.mp4", frames=48, sound=True) if sound else film
    result, measured = judged_and_measured(request_for(path), Limits(), no_pulse)
    alone, nothing = judged_and_measured({"path": str(path)}, Limits(), no_pulse)
    assert (result, nothing) == (alone, None)
    assert plain(measured) == plain(measure(path, None, digests=base64.b64decode(result.frame_digests)))
    assert plain(measured) == plain(measure(path, None))
    assert measured is not None
    assert (measured["shots"][0]["signals"]["loudness_lufs"] is not None) == sound


def test_sound_that_no_decoder_knows_leaves_the_pictures_measured(tmp_path: Path) -> None:
    path = encode(tmp_path / "sound.mkv", frames=48, sound=True, write_crc32="0")
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    result, measured = judged_and_measured(request_for(path), Limits(), no_pulse)
    assert result.reasons == ()
    assert measured is not None
    assert measured["shots"][0]["signals"]["loudness_lufs"] is None
    assert plain(measured) == plain(measure(path, None))


def test_a_refused_file_is_not_measured(film: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(film.read_bytes()[:-5000])
    result, measured = judged_and_measured(request_for(cut), Limits(), no_pulse)
    assert result.reasons
    assert measured is None


@pytest.mark.parametrize("failure", [ValueError("a library"), MemoryError()])
def test_what_fails_in_measuring_leaves_the_verdict_alone(
    film: Path, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, _ = judged_and_measured({"path": str(film)}, Limits(), no_pulse)

    def fail(self: Pass, frame: object) -> None:
        raise failure

    monkeypatch.setattr(Pass, "add", fail)
    assert judged_and_measured(request_for(film), Limits(), no_pulse) == (alone, None)


def test_weights_that_cannot_be_used_leave_the_verdict_alone(film: Path, tmp_path: Path) -> None:
    asked = request_for(film) | {"plugins": {"nsfw": str(tmp_path / "none.onnx")}}
    result, measured = judged_and_measured(asked, Limits(), no_pulse)
    assert (result.reasons, measured) == ((), None)


def test_a_worker_that_dies_while_it_measures_is_asked_for_the_verdict_alone(film: Path, tmp_path: Path) -> None:
    script = tmp_path / "dies.py"
    script.write_text(DIES)
    beside = BesideProbe(Measuring("v", None, ()), (sys.executable, str(script)))
    with ProbePool(workers=1, beside=beside) as pool:
        examined = pool.examine(film)
    assert (examined.result.codec, examined.result.reasons, examined.beside) == ("alone", (), None)


def take(home: Home, *films: Path, say: Callable[[str], None] = lambda text: None) -> list[dict[str, Any]]:
    """Rows of table `media` of files that lie in the inbox."""
    items, entries = [], {}
    for at, path in enumerate(films):
        key = f"inbox/{DAYS[0]}/d-1/{at}-{path.name}"
        home.store.put(key, path)
        items.append(
            {"item_id": f"i-{at}", "received_day": DAYS[0], "state": "accepted", "declared_sha256": None}
            | {"reasons": [], "file_name": path.name}
        )
        entries[f"i-{at}"] = Entry(path.name, key, "file")
    with ProbePool(workers=1, beside=beside_probe(home)) as pool:
        intake = Intake(home.store, pool, home.scratch("intake"), MarkReader.of(home))
        taken = take_in(intake, items, entries, say)
    return [file.row for file in taken]


def test_what_was_taken_in_is_measured_without_another_decode(
    home: Home, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(film.read_bytes()[:-5000])
    messages: list[str] = []
    rows = take(home, film, bad, say=messages.append)
    assert messages[-1].startswith("2 of 2 files")
    assert [row["state"] for row in rows] == ["accepted", "quarantined"]
    assert not home.store.exists(result_key(Measuring.of(home).version, rows[1]["bytes_sha256"]))
    asked: list[object] = []
    monkeypatch.setattr(Children, "ask", lambda self, request: asked.append(request))
    (measured,) = measure_files(home, rows).values()
    assert asked == []
    assert not measured.decoded
    assert [shot["end_frame"] for shot in measured.shots] == [32, 64]


def test_where_files_are_measured_elsewhere_they_are_only_probed_here(home: Home) -> None:
    assert beside_probe(replace(home, executor="ray")) is None
    assert beside_probe(replace(home, executor="local:2")) is not None


def test_what_was_measured_before_is_not_measured_beside_the_probe(
    home: Home, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = media_row(home, film)
    measure_files(home, [row])
    requests: list[dict[str, Any]] = []
    ask = Children.ask

    def listening(self: Children, request: dict[str, Any]) -> Any:
        requests.append(request)
        return ask(self, request)

    monkeypatch.setattr(Children, "ask", listening)
    (taken,) = take(home, film)
    assert [code_of(reason) for reason in taken["reasons"]] == []
    assert len(requests) == 1
    assert "plugins" not in requests[0]


def test_a_file_that_takes_a_worker_over_is_said_to_have_crashed_it(film: Path, tmp_path: Path) -> None:
    script = tmp_path / "garbles.py"
    script.write_text('import sys\nprint("ready", flush=True)\nfor _ in sys.stdin:\n    print("[1]", flush=True)\n')
    beside = BesideProbe(Measuring("v", None, ()), (sys.executable, str(script)))
    with ProbePool(workers=1, beside=beside) as pool:
        assert [code_of(reason) for reason in pool.examine(film).result.reasons] == [Code.CRASHED]
