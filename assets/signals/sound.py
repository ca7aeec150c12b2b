"""What a clip's sound is like: loudness after ITU-R BS.1770, silence, and whether somebody seems to speak.

Packets come from the same demuxing as the pictures. FFmpeg's `ebur128` gives momentary loudness (400 ms) ten times a
second, which are the blocks that BS.1770's gates work on, so any stretch has its integrated loudness afterwards. Speech
is told by its rhythm and its voice: syllables leave many quiet instants in every second, vowels are periodic at the
pitch of a voice. That takes most talk for talk, and sometimes a song too; it is a signal for people, and blocks nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import av
    from av.audio.stream import AudioStream

SILENT_LUFS = -50.0
GATE_LUFS, GATE_BELOW_LU = -70.0, 10.0  # BS.1770-4, section 2.8
SPEECH_RATE = 16_000
FRAME = 512  # samples, 32 ms
WINDOW = 31  # frames, 1 s
PITCH_HZ = (75, 400)
QUIET_SHARE = 0.22  # of a second's instants, below half of its mean power
VOICED_SHARE = 0.15
VOICED_CORRELATION = 0.5  # of a frame to itself one pitch period later


class Sound:
    """Takes the packets of one stream of sound. A stream that does not decode leaves `broken` and no figures."""

    def __init__(self, stream: AudioStream, start_s: float = 0.0) -> None:
        from av.audio.resampler import AudioResampler
        from av.filter import Graph

        self.broken = False
        self.start_s = start_s
        self._at, self._loudness = array("d"), array("f")
        self._speech_at, self._speech = array("d"), array("b")
        self._graph = Graph()
        source = self._graph.add_abuffer(template=stream)
        meter, sink = self._graph.add("ebur128", "metadata=1"), self._graph.add("abuffersink")
        source.link_to(meter)
        meter.link_to(sink)
        self._graph.configure()
        self._mono = AudioResampler("s16", "mono", SPEECH_RATE)
        self._samples: list[np.ndarray] = []

    @classmethod
    def of(cls, stream: AudioStream) -> Sound | None:
        """The listener to `stream`; None where nothing can be set up for what it declares."""
        import av

        try:
            return cls(stream)
        except (av.error.FFmpegError, ValueError):
            return None

    def add(self, packet: av.Packet) -> None:
        import av

        if self.broken:
            return
        try:
            for frame in packet.decode():
                assert isinstance(frame, av.AudioFrame), "a packet of a stream of sound"
                self._meter(frame)
                self._detect_speech(frame)
        except (av.error.FFmpegError, ValueError):  # the latter: its format changed on the way
            self.broken = True

    def _meter(self, frame: av.AudioFrame) -> None:
        import av

        self._graph.push(frame)
        while True:
            try:
                metered = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            if (momentary := metered.metadata.get("lavfi.r128.M")) is not None and metered.time is not None:
                self._at.append(metered.time)
                self._loudness.append(max(float(momentary), -120.0))

    def _detect_speech(self, frame: av.AudioFrame) -> None:
        for mono in self._mono.resample(frame):
            self._samples.append(mono.to_ndarray().ravel())
        if sum(map(len, self._samples)) >= WINDOW * FRAME and frame.time is not None:
            samples = np.concatenate(self._samples)
            self._samples = [samples[WINDOW * FRAME :]]
            self._speech_at.append(frame.time)
            self._speech.append(is_speech(samples[: WINDOW * FRAME]))

    def between(self, start_s: float, end_s: float) -> dict[str, Any]:
        """The sound columns of table `signals` for a stretch of the film, in seconds from its first picture."""
        times = np.frombuffer(self._at, np.float64) - self.start_s
        inside = np.frombuffer(self._loudness, np.float32)[(times >= start_s) & (times < end_s)]
        if self.broken or not len(inside):
            return NO_SOUND
        speech_times = np.frombuffer(self._speech_at, np.float64) - self.start_s
        speech = np.frombuffer(self._speech, np.int8)[(speech_times >= start_s) & (speech_times < end_s + 0.5)]
        return {
            "loudness_lufs": integrated(inside),
            "silence_fraction": float(np.mean(inside < SILENT_LUFS)),
            "speech_fraction": float(np.mean(speech)) if len(speech) else None,
        }


NO_SOUND = {"loudness_lufs": None, "silence_fraction": None, "speech_fraction": None}


def integrated(momentary: Iterable[float]) -> float:
    """Gated loudness of momentary values (LUFS); at most -70 where nothing passes the absolute gate."""
    loud = np.asarray(list(momentary), np.float64)
    loud = loud[loud > GATE_LUFS]
    if not len(loud):
        return GATE_LUFS
    loud = loud[loud > _mean(loud) - GATE_BELOW_LU]
    return _mean(loud)


def _mean(loudness: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(10 ** (loudness / 10))))


def is_speech(samples: np.ndarray) -> bool:
    """Whether `WINDOW * FRAME` samples at `SPEECH_RATE` sound like somebody speaking."""
    frames = samples.reshape(WINDOW, FRAME).astype(np.float32) / 32768
    power = np.mean(frames**2, axis=1)
    mean = float(power.mean())
    if mean < 1e-7:  # -70 dB: nothing
        return False
    spectrum = np.fft.rfft(frames * np.hanning(FRAME).astype(np.float32), 2 * FRAME)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[:, :FRAME]
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(FRAME), 2 * FRAME)) ** 2)[:FRAME]
    low, high = SPEECH_RATE // PITCH_HZ[1], SPEECH_RATE // PITCH_HZ[0]
    periodic = (correlation[:, low:high] / np.maximum(correlation[:, :1], 1e-9) * (window[0] / window[low:high])).max(
        axis=1
    )
    voiced = (periodic > VOICED_CORRELATION) & (power > 0.1 * mean)
    return bool(np.mean(power < 0.5 * mean) >= QUIET_SHARE and voiced.mean() >= VOICED_SHARE)
