"""What a delivered file says of its own origin, as the real worker reads it and as a clip is then judged."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assets.curation.policy import origin
from assets.decode.probe_pool import ProbePool, ProbeResult
from assets.marks.c2pa import SOURCE_TYPES, sign_as_ai_generator
from assets.marks.certificates import Identity, make_certificate
from tests.assets.ingestion.hostile import box
from tests.assets.samples import encode


@pytest.fixture
def camera(tmp_path: Path) -> Identity:
    """The identity of a maker of cameras."""
    return make_certificate(tmp_path / "camera", "Lens and Sons")


@pytest.fixture
def generated(video: Path, tmp_path: Path) -> Path:
    return sign_as_ai_generator(video, tmp_path / "generated.mp4", tmp_path / "dreamfield")


def signed(src: Path, dst: Path, by: Identity, kind: str | None, part: Path | None = None) -> Path:
    """`src` with a manifest that says it is of `kind`, and holds `part`."""
    import c2pa

    actions: list[dict[str, Any]] = [{"action": "c2pa.created", "digitalSourceType": SOURCE_TYPES + (kind or "")}]
    if part is not None:
        actions.append({"action": "c2pa.placed", "parameters": {"ingredientIds": ["part"]}})
    manifest = {
        "claim_generator_info": [{"name": "Lens OS", "version": "1"}],
        "format": "video/mp4",
        "assertions": [{"label": "c2pa.actions", "data": {"actions": actions}}],
    }
    info = c2pa.C2paSignerInfo(b"es256", by.chain.read_bytes(), by.key.read_bytes(), None)
    with c2pa.Signer.from_info(info) as signer, c2pa.Builder(json.dumps(manifest)) as builder:
        if part is not None:
            described = {"title": part.name, "relationship": "componentOf", "label": "part"}
            with part.open("rb") as stream:
                builder.add_ingredient(json.dumps(described), "video/mp4", stream)
        builder.sign_file(str(src), str(dst), signer)
    return dst


def verdicts(result: ProbeResult) -> dict[str, tuple[str, str | None]]:
    """(verdict, value) of the two checks on provenance."""
    row = asdict(result)
    return {name: getattr(origin, name)(row)[:2] for name in ("synthetic_origin", "provenance")}


def test_a_capture_counts_in_favour_only_under_a_trusted_root(
    video: Path, camera: Identity, pool: ProbePool, tmp_path: Path
) -> None:
    film = signed(video, tmp_path / "film.mp4", camera, "digitalCapture")
    with ProbePool(workers=1, anchors=camera.root) as trusting:
        trusted = trusting.probe(film)
        assert trusting.version != pool.version
    assert verdicts(trusted)["provenance"] == ("pass", "trusted capture")
    unknown = pool.probe(film)
    assert (unknown.c2pa_state, unknown.reasons) == ("valid", ())
    assert verdicts(unknown) == {"synthetic_origin": ("pass", "digitalCapture"), "provenance": ("pass", "valid")}


def test_no_manifest_is_neutral(video: Path, pool: ProbePool) -> None:
    assert verdicts(pool.probe(video)) == {
        "synthetic_origin": ("pass", "absent"),
        "provenance": ("unmeasurable", None),
    }


@pytest.mark.parametrize(
    "kind",
    ["trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "algorithmicMedia", "compositeSynthetic"],
)
def test_every_declaration_of_an_algorithm_is_fatal(
    kind: str, video: Path, camera: Identity, pool: ProbePool, tmp_path: Path
) -> None:
    film = signed(video, tmp_path / "film.mp4", camera, kind)
    assert verdicts(pool.probe(film))["synthetic_origin"] == ("fail", kind)


def test_a_capture_that_holds_a_generated_part_is_a_composite(
    video: Path, camera: Identity, generated: Path, tmp_path: Path
) -> None:
    film = signed(video, tmp_path / "film.mp4", camera, "digitalCapture", part=generated)
    with ProbePool(workers=1, anchors=camera.root) as trusting:
        result = trusting.probe(film)
    assert result.c2pa_state == "trusted"
    assert verdicts(result)["synthetic_origin"] == ("fail", "trainedAlgorithmicMedia")
    assert "generated.mp4" in (result.c2pa_detail or "")


def test_a_part_that_was_tampered_with_is_noted_by_name(
    video: Path, camera: Identity, pool: ProbePool, tmp_path: Path
) -> None:
    part = signed(video, tmp_path / "part.mp4", camera, "digitalCapture")
    data = bytearray(part.read_bytes())
    data[data.find(b"mdat") + 200] ^= 1
    part.write_bytes(data)
    result = pool.probe(signed(video, tmp_path / "film.mp4", camera, "digitalCapture", part=part))
    assert (result.c2pa_state, result.reasons) == ("invalid", ())
    assert "ingredient 'part.mp4' broken (assertion.bmffHash.mismatch)" in (result.c2pa_detail or "")
    assert verdicts(result) == {"synthetic_origin": ("pass", "invalid"), "provenance": ("fail", "invalid")}


def test_a_broken_manifest_is_noted_and_what_it_declares_still_counts(
    video: Path, camera: Identity, generated: Path, pool: ProbePool, tmp_path: Path
) -> None:
    data = signed(video, tmp_path / "film.mp4", camera, "digitalCapture").read_bytes()
    (tmp_path / "lied.mp4").write_bytes(data.replace(b"digitalCapture", b"digitalCaptura"))
    assert verdicts(pool.probe(tmp_path / "lied.mp4"))["provenance"] == ("fail", "invalid")
    data = generated.read_bytes()
    (tmp_path / "torn.mp4").write_bytes(data.replace(b"c2pa.actions", b"c2pa.actioms", 1))
    assert verdicts(pool.probe(tmp_path / "torn.mp4"))["synthetic_origin"][0] == "fail"


def test_a_declaration_without_any_manifest_is_fatal_too(video: Path, pool: ProbePool, tmp_path: Path) -> None:
    xmp = f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPES}trainedAlgorithmicMedia</Iptc4xmpExt:DigitalSourceType>"
    packet = struct.pack(">I4s16s", 24 + len(xmp), b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac"))
    film = tmp_path / "film.mp4"
    film.write_bytes(video.read_bytes() + packet + xmp.encode())
    result = pool.probe(film)
    assert (result.reasons, result.notes, result.c2pa_state) == ((), (), "absent")
    assert verdicts(result)["synthetic_origin"] == ("fail", "trainedAlgorithmicMedia")


def test_a_manifest_of_noise_is_unreadable_and_no_crash(generated: Path, pool: ProbePool, tmp_path: Path) -> None:
    data = bytearray(generated.read_bytes())
    start = box(bytes(data), b"jumb")
    data[start + 8 : start + 600] = np.random.default_rng(0).bytes(592)
    (tmp_path / "noise.mp4").write_bytes(data)
    result = pool.probe(tmp_path / "noise.mp4")
    assert result.c2pa_state in {"unreadable", "invalid", "absent"}
    assert result.reasons == ()


def test_a_regular_pattern_in_fine_detail_is_measured(pool: ProbePool, tmp_path: Path) -> None:
    from tests.assets.ingestion import films

    plain = np.random.default_rng(1).integers(60, 200, (8, 17, 30, 3)).repeat(16, 1).repeat(16, 2).astype(np.uint8)
    woven = plain.copy()
    woven[:, ::2, ::2] += 6
    smooth, regular = (
        pool.probe(films.encode(tmp_path / f"{name}.mp4", data, crf="12")).spectral_peak_db or 0.0
        for name, data in (("smooth", plain), ("regular", woven))
    )
    assert regular > 20 > smooth


def test_a_film_too_small_for_a_pattern_has_none(pool: ProbePool, tmp_path: Path) -> None:
    assert pool.probe(encode(tmp_path / "a.mp4", width=48, height=32)).spectral_peak_db is None
