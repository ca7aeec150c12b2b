"""What is measured on single pictures, on larger ones and on sound, against truths that are known."""

from __future__ import annotations

import importlib
import json
import re
import struct
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import assets
from assets.decode.decoder import open_container
from assets.model.config import sources
from assets.signals.detectors import BadScorer, TextMeter, available_scorers, load_scorers
from assets.signals.files import pass_version
from assets.signals.frames import SMALL_SIDE, read
from assets.signals.image_quality import (
    PARTS,
    bars,
    colourfulness,
    detail_share,
    is_black,
    is_frozen,
    letterbox_box,
    noise_sigma,
    score_picture,
    technical_quality,
)
from assets.signals.single_pass import measure
from assets.signals.sound import GATE_LUFS, Sound, integrated
from tests.assets.samples import texture
from training.data.video import write_mp4

# -- single small pictures -------------------------------------------------------------------------------------------


def letterbox_share(*sides: int) -> float:
    _, _, width, height = letterbox_box(*sides)
    return 1 - width * height


def gray_of(rgb: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)


def test_blur_lowers_sharpness_and_noise_raises_the_noise_figure() -> None:
    rgb = texture(0)
    blurred = cv2.GaussianBlur(rgb, (0, 0), 3)
    noisy = np.clip(blurred + np.random.default_rng(0).normal(0, 6, rgb.shape), 0, 255).astype(np.uint8)
    scores = {name: score_picture(p, gray_of(p)) for name, p in (("as is", rgb), ("blur", blurred), ("noise", noisy))}
    assert scores["blur"].sharpness < scores["as is"].sharpness / 5
    assert noise_sigma(gray_of(noisy)) > noise_sigma(gray_of(blurred)) + 2


@pytest.mark.parametrize(("value", "clipped"), [(0, 1.0), (4, 1.0), (5, 0.0), (128, 0.0), (250, 0.0), (255, 1.0)])
def test_clipped_pixels_are_those_outside_5_to_250(value: int, clipped: float) -> None:
    flat = np.full((36, 64, 3), value, np.uint8)
    assert score_picture(flat, flat[..., 0]).clipped == pytest.approx(clipped)


def test_percentiles_and_contrast_of_a_two_tone_picture() -> None:
    rgb = np.zeros((40, 60, 3), np.uint8)
    rgb[:, 30:] = 200
    scores = score_picture(rgb, gray_of(rgb))
    assert (scores.luma_p05, scores.luma_p95, scores.contrast) == pytest.approx((0, 200, 100), abs=1)


def test_grey_has_no_colour_and_stripes_of_colour_have_much() -> None:
    stripes = np.zeros((40, 60, 3), np.uint8)
    stripes[:, :20, 0] = stripes[:, 20:40, 1] = stripes[:, 40:, 2] = 255
    assert colourfulness(np.full((40, 60, 3), 90, np.uint8)) == pytest.approx(0, abs=1e-3)
    assert colourfulness(stripes) > 100


def test_coloured_shadows_are_told_from_neutral_ones() -> None:
    lamps, daylight = (np.full((40, 60, 3), 230, np.uint8) for _ in range(2))
    lamps[:, :40] = (15, 25, 60)
    daylight[:, :40] = (40, 42, 45)
    saturation = [score_picture(p, gray_of(p)).shadow_saturation for p in (lamps, daylight)]
    assert saturation[0] > 0.6
    assert saturation[1] < 0.2


def test_black_and_frozen_frames_are_told_from_coding_noise_and_from_movement() -> None:
    noise = np.random.default_rng(0).integers(0, 4, (144, 256), np.uint8)
    picture = gray_of(texture(1))
    moved = picture.copy()
    moved[60:70, 100:110] = 255 - moved[60:70, 100:110]
    assert is_black(noise)
    assert not is_black(picture)
    assert is_frozen(np.clip(picture.astype(int) + noise, 0, 255).astype(np.uint8), picture)
    assert not is_frozen(moved, picture)


def test_a_letterbox_is_measured_and_a_dark_sky_is_none() -> None:
    boxed = gray_of(texture(2))
    boxed[:18] = boxed[-18:] = 2
    assert letterbox_share(*bars(boxed), 144, 256) == pytest.approx(0.25, abs=0.01)
    assert letterbox_box(*bars(boxed), 144, 256) == pytest.approx((0, 18 / 144, 1, 108 / 144), abs=0.01)
    sky = gray_of(texture(2))
    sky[:60] = 3
    assert letterbox_share(*bars(sky), 144, 256) == 0


def test_pillars_and_bars_add_up() -> None:
    boxed = np.full((144, 256), 120, np.uint8)
    boxed[:36] = boxed[-36:] = 0
    boxed[:, :64] = boxed[:, -64:] = 0
    assert letterbox_share(*bars(boxed), 144, 256) == pytest.approx(0.75)


# -- larger pictures and sound ---------------------------------------------------------------------------------------


def fine_picture(seed: int, side: int = 768) -> np.ndarray:
    """Power falls with the square of frequency, as in nature, up to the last pixel."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    spectrum = np.fft.fft2(rng.normal(size=(side, side))) / np.maximum(frequency, 1 / side)
    picture = np.fft.ifft2(spectrum).real
    return np.clip(128 + 40 * picture / picture.std(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("kernel", [cv2.INTER_CUBIC, cv2.INTER_LANCZOS4])
def test_an_enlarged_picture_uses_less_than_its_grid(scale: int, kernel: int) -> None:
    picture = fine_picture(0)
    small = cv2.resize(picture, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA)
    enlarged = cv2.resize(small, picture.shape[::-1], interpolation=kernel)
    assert detail_share(picture) == 1
    assert (detail_share(enlarged) or 1) < 0.8


def test_a_flat_or_tiny_picture_says_nothing_about_detail() -> None:
    assert detail_share(np.full((600, 800), 90, np.uint8)) is None
    assert detail_share(fine_picture(1)[:100, :100]) is None


@pytest.mark.parametrize("sigma", [2.0, 5.0, 10.0])
def test_noise_is_measured_in_8_bit_units(sigma: float) -> None:
    noisy = 128 + np.random.default_rng(0).normal(0, sigma, (400, 400))
    assert noise_sigma(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)) == pytest.approx(sigma, rel=0.15)


def test_lasting_rows_of_letters_are_told_from_pictures() -> None:
    def share(written: bool) -> float:
        letters = TextMeter()
        measured = []
        for seed in range(3):
            picture = cv2.GaussianBlur(cv2.cvtColor(texture(seed, 360, 640), cv2.COLOR_RGB2GRAY), (0, 0), 2) // 2
            if written:
                cv2.putText(picture, "THE QUICK BROWN FOX", (60, 330), cv2.FONT_HERSHEY_SIMPLEX, 1.2, 255, 2)
            measured.append(letters.share(picture))
        assert measured[0] is None  # one look cannot tell what lasts
        return min(value or 0 for value in measured[1:])

    assert share(written=True) > 0.03
    assert share(written=False) == 0


def test_quality_falls_with_any_part_and_leaves_out_what_is_unknown() -> None:
    best = {name: high for name, (_, high) in PARTS.items()}
    assert technical_quality(best)[0] == pytest.approx(1)
    for name, (worst, _) in PARTS.items():
        assert technical_quality(best | {name: worst})[0] < 0.75
    assert "noise" not in technical_quality(best | {"noise": None})[1]


def tone(path: Path, seconds: float, level: float, hertz: float = 997.0) -> Path:
    """A sine of amplitude `level` on two channels at 48 kHz."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=48_000, layout="stereo")
        wave = np.sin(2 * np.pi * hertz * np.arange(int(48_000 * seconds)) / 48_000) * level * 32767
        frame = av.AudioFrame.from_ndarray(np.repeat(wave.astype(np.int16), 2)[None], format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def heard(path: Path) -> dict[str, float | None]:
    with open_container(path) as container:
        sound = Sound(container.streams.audio[0])
        for packet in container.demux(container.streams.audio[0]):
            sound.add(packet)
    return sound.between(0, 1e9)


@pytest.mark.parametrize("level_db", [-23.0, -33.0])
def test_a_tone_has_the_loudness_of_the_standard(tmp_path: Path, level_db: float) -> None:
    """EBU Tech 3341, case 1: 1 kHz on both channels at -23 dBFS is -23 LUFS."""
    measured = heard(tone(tmp_path / "a.mkv", 4, 10 ** (level_db / 20)))
    assert measured["loudness_lufs"] == pytest.approx(level_db, abs=0.3)
    assert measured["speech_fraction"] == 0


def test_no_sound_is_silence_at_the_gate(tmp_path: Path) -> None:
    measured = heard(tone(tmp_path / "a.mkv", 3, 0.0))
    assert measured["loudness_lufs"] == GATE_LUFS
    assert measured["silence_fraction"] == 1


@given(st.lists(st.floats(-69, 0), min_size=1, max_size=50), st.integers(0, 200))
def test_silence_between_does_not_lower_the_loudness(loud: list[float], pauses: int) -> None:
    assert integrated(loud + [-90.0] * pauses) == pytest.approx(integrated(loud))


def test_deep_and_turned_pictures_are_read_upright_in_full_range(tmp_path: Path) -> None:
    import av

    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p10le"
        for value in (16, 235):
            rgb = np.full((180, 320, 3), 0 if value == 16 else 255, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode(None))
    dark, bright = (frame.views(SMALL_SIDE)[1].mean() for frame in read(path))
    assert dark < 2
    assert bright > 253


def field(number: int, payload: bytes | int | str) -> bytes:
    """One field of a protocol buffer."""
    if isinstance(payload, int):
        return bytes([number << 3]) + varint(payload)
    data = payload.encode() if isinstance(payload, str) else payload
    return bytes([number << 3 | 2]) + varint(len(data)) + data


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def mean_model() -> bytes:
    """A real ONNX model: the mean over each channel of a 1 x 3 x 8 x 8 picture."""

    def value(name: str, shape: tuple[int, ...]) -> bytes:
        dims = b"".join(field(1, field(1, size)) for size in shape)
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))

    node = field(1, "x") + field(2, "y") + field(4, "GlobalAveragePool")
    graph = field(1, node) + field(2, "g") + field(11, value("x", (1, 3, 8, 8))) + field(12, value("y", (1, 3, 1, 1)))
    return field(1, 8) + field(7, graph) + field(8, field(2, 13))


def test_a_plugin_scores_and_its_version_follows_model_and_card(tmp_path: Path) -> None:
    (tmp_path / "nsfw.onnx").write_bytes(mean_model())
    card = {"version": "mean-1", "licence": "none needed", "width": 8, "height": 8, "scale": 255.0, "output": 0}
    (tmp_path / "nsfw.json").write_text(json.dumps(card))
    assert list(available_scorers(tmp_path)) == ["nsfw"]
    (scorer,) = load_scorers(available_scorers(tmp_path))
    rgb = np.zeros((20, 30, 3), np.uint8)
    rgb[..., 0] = 51
    assert scorer.score(rgb) == pytest.approx(0.2, abs=0.01)
    assert scorer.version.startswith("mean-1-")
    with_plugin = pass_version(None, available_scorers(tmp_path))
    (tmp_path / "nsfw.json").write_text(json.dumps(card | {"output": 1}))
    assert len({pass_version(None), with_plugin, pass_version(None, available_scorers(tmp_path))}) == 3


STEPS = [
    ("assets.signals.single_pass", "SIGNALS_VERSION"),
    ("assets.signals.shots", "DETECTOR_VERSION"),
    ("assets.signals.image_quality", "QUALITY_VERSION"),
    ("assets.signals.detectors", "TEXT_VERSION"),
    ("assets.decode.identity", "IDENTITY_VERSION"),
]


@pytest.mark.parametrize(("module", "constant"), STEPS, ids=lambda value: value.rpartition(".")[2])
def test_another_version_of_any_step_of_the_pass_is_another_pass(
    module: str, constant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pass_version(None)
    monkeypatch.setattr(importlib.import_module(module), constant, "another")
    assert pass_version(None) != before


def test_every_version_constant_of_the_pass_is_part_of_its_version() -> None:
    folder, own = Path(assets.__file__).parent, set()
    for source in sources(folder, ("signals/single_pass",)):
        module = ".".join(source.relative_to(folder.parent).with_suffix("").parts)
        own |= {(module, name) for name in re.findall(r"^(\w*VERSION) = ", source.read_text(), re.MULTILINE)}
    assert own == set(STEPS)


@pytest.mark.parametrize("card", [None, "[]", '{"version": "1"}', "{"])
def test_a_model_without_a_usable_card_is_refused(tmp_path: Path, card: str | None) -> None:
    (tmp_path / "nsfw.onnx").write_bytes(struct.pack("<I", 0))
    if card is not None:
        (tmp_path / "nsfw.json").write_text(card)
    with pytest.raises(BadScorer, match="card"):
        load_scorers(available_scorers(tmp_path))


def test_pictures_and_sound_of_a_film_are_measured_in_one_pass(tmp_path: Path) -> None:
    import av

    pictures, path = write_mp4(tmp_path / "a.mp4", np.repeat(texture(0)[None], 20, axis=0), 10.0), tmp_path / "b.mkv"
    sound = tone(tmp_path / "a.mkv", 2, 10 ** (-23 / 20))
    with av.open(str(path), "w") as out, av.open(str(pictures)) as video, av.open(str(sound)) as audio:
        streams = {source: out.add_stream_from_template(source.streams[0]) for source in (video, audio)}
        for source, stream in streams.items():
            for packet in source.demux(0):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
    (shot,) = measure(path, None)["shots"]
    assert shot["end_frame"] == 20
    assert shot["signals"]["loudness_lufs"] == pytest.approx(-23, abs=0.5)
    assert measure(pictures, None)["shots"][0]["signals"]["loudness_lufs"] is None
    assert measure(pictures, None)["shots"][0]["clip_id"] == shot["clip_id"]  # what is heard names no pictures
