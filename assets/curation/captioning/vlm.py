"""Captions by a vision-language model: which frames it sees, what it says of them, and which captions may be used.

Its words are nobody's verified fact: they are compared with the declared subject and must pass rules. Rows stand beside
the structured captions under the captioner's name, and those that a rule refuses are kept with the reasons.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from assets.curation.captioning.embeddings import encoder_name, text_vectors
from assets.curation.captioning.phrasing import clean, misleading_signs, times_conflict, times_named
from assets.curation.captioning.structured import Facts, caption_row
from assets.home import Home
from assets.pages.stills import frames_at
from training.consent.canonical import file_sha256
from training.model.text import TextEncoder

if TYPE_CHECKING:
    import numpy as np

PROMPT = "Describe in one plain sentence what is seen in this picture."
PROMPT_VERSION = "prompt-1"  # change it with the prompt or with how pictures are fed
MAX_NEW_TOKENS = 64
CONFIGS = ("config.json", "processor_config.json", "preprocessor_config.json", "tokenizer_config.json")


class BadCaptioner(ValueError):
    """The folder holds no captioner that can be used. Says which file, and why."""


class Captioner(Protocol):
    """Says what is seen in a picture."""

    name: str  # with the digest of the weights and the version of the prompt: the same name gives the same words

    def caption(self, rgb: np.ndarray) -> str:
        """What is seen in uint8 [h, w, 3], as the model words it."""
        ...


class LocalCaptioner:
    """The model in `folder`: greedy decoding, so the same picture always gives the same words."""

    def __init__(self, folder: Path) -> None:
        """Load it; raises BadCaptioner."""
        import torch
        import transformers

        self.name = captioner_name(folder)
        transformers.utils.logging.disable_progress_bar()
        own: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._processor: Any = transformers.AutoProcessor.from_pretrained(str(folder), **own)
            loaded: Any = transformers.AutoModelForImageTextToText.from_pretrained(
                str(folder), use_safetensors=True, output_loading_info=True, **own
            )
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, TypeError) as error:
            raise BadCaptioner(
                f"{folder}: transformers cannot load it ({' '.join(str(error).split())[:300]})"
            ) from error
        model, report = loaded
        if lost := sorted({*map(str, report["missing_keys"]), *map(str, report["mismatched_keys"])}):
            raise BadCaptioner(f"{folder}: the weights lack {len(lost)} tensors that the model has, such as {lost[0]}")
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model: Any = model.to(self._device).eval()

    def caption(self, rgb: np.ndarray) -> str:
        import torch

        inputs = self._inputs(rgb).to(self._device)
        with torch.inference_mode():
            ids = self._model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False, num_beams=1)
        prompt = inputs.get("input_ids")
        if prompt is not None and torch.equal(
            ids[:, : prompt.shape[1]], prompt
        ):  # the prompt comes back before the answer
            ids = ids[:, prompt.shape[1] :]
        return self._processor.batch_decode(ids, skip_special_tokens=True)[0].strip()

    def _inputs(self, rgb: np.ndarray) -> Any:
        """Models that are talked to are asked; the others only look."""
        from PIL import Image

        image = Image.fromarray(rgb)
        if getattr(self._processor, "chat_template", None) is None:
            return self._processor(images=image, return_tensors="pt")
        content = [{"type": "image", "image": image}, {"type": "text", "text": PROMPT}]
        return self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )


def captioner_name(folder: Path) -> str:
    """`visual/<folder>-<digest of weights and configuration>/<prompt>`. Raises BadCaptioner for any other folder."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise BadCaptioner(f"no captioner at {folder}: there are no safetensors; RUSHES_CAPTIONER names its folder")
    digest = hashlib.sha256()
    for path in [*weights, *(folder / name for name in CONFIGS if (folder / name).is_file())]:
        digest.update(bytes.fromhex(file_sha256(path)))
    for name in CONFIGS:
        if (folder / name).is_file() and "auto_map" in _config(folder / name):
            raise BadCaptioner(f"{folder / name}: the model asks for code of its own (auto_map), which is never run")
    return f"visual/{folder.name}-{digest.hexdigest()[:12]}/{PROMPT_VERSION}"


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadCaptioner(f"{path}: not JSON ({error})") from error
    if not isinstance(config, dict):
        raise BadCaptioner(f"{path}: not a configuration")
    return config


MOMENTS = (1 / 2, 1 / 6, 5 / 6)  # of a clip's frames: the middle tells most
LONGEST, KEPT = 400, 2000  # characters that may be told, and that are kept of what was said
REPEATS = 2  # a phrase of three words said more often than this is a model that is stuck
PEOPLE = re.compile(
    r"(?i)\b(?:wo)?m[ae]n\b|\b(?:persons?|people|boys?|girls?|child(?:ren)?|crowds?|bab(?:y|ies)|faces?)\b"
)

Row = Mapping[str, Any]
KEYS = ("clip_id", "item_id", "shot_index", "received_day")


def visual_rows(
    home: Home,
    shots: Sequence[Row],
    items: Mapping[str, Row],
    captioner: Captioner,
    earlier: Iterable[Row] = (),
    say: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Rows of table `visual_captions` for these clips, up to one for each of `MOMENTS`.

    What the same captioner said of the same clip before (`earlier`) is not asked again. A file that does not decode any
    more, or that the captioner fails over, leaves its clips without words. Raises what went wrong with all of several.
    """
    before = {
        (row["clip_id"], row["frame"] - row["start_frame"]): row
        for row in earlier
        if row["captioner"] == captioner.name
    }
    texts: dict[tuple[str, int], str] = {key: row["text"] for key, row in before.items()}
    missing: dict[str, dict[int, set[tuple[str, int]]]] = defaultdict(lambda: defaultdict(set))
    for shot in shots:
        for frame in moments(shot):
            if (key := (shot["clip_id"], frame - shot["start_frame"])) not in texts:
                missing[shot["media_key"]][frame].add(key)
    failed: list[Exception] = []
    for done, (media_key, frames) in enumerate(sorted(missing.items()), 1):
        try:
            for frame, _, rgb in frames_at(home.store.fetch(media_key), set(frames)):
                texts |= dict.fromkeys(frames[frame], captioner.caption(rgb))
        except Exception as error:  # whatever a file provokes in a decoder or a model
            failed.append(error)
            say(f"{media_key}: its pictures could not be captioned ({type(error).__name__}: {error})")
        say(f"{captioner.name} looked at {done} of {len(missing)} files")
    if len(failed) == len(missing) > 1:
        raise failed[0]
    rows = [
        {key: shot[key] for key in (*KEYS, "start_frame")}
        | {"captioner": captioner.name, "variant": variant, "frame": frame, "text": texts[key][:KEPT]}
        for shot in shots
        for variant, frame in enumerate(moments(shot))
        if (key := (shot["clip_id"], frame - shot["start_frame"])) in texts
    ]
    return _with_likeness(home, rows, items)


def moments(shot: Row) -> list[int]:
    """The frames that are looked at, the middle first; fewer where the clip has fewer."""
    count = shot["end_frame"] - shot["start_frame"]
    return list(dict.fromkeys(shot["start_frame"] + int(count * moment) for moment in MOMENTS if count > 0))


def _with_likeness(home: Home, rows: list[dict[str, Any]], items: Mapping[str, Row]) -> list[dict[str, Any]]:
    """Adds the cosine between what was said and the declared subject, by the offline sentence encoder.

    None where nothing is declared, and for malformed words. Only vectors of what was said are remembered: a
    withdrawal finds those by the rows of this table. Raises training.model.text.TextEncoderError.
    """
    pairs = {
        index: (row["text"], clean(subject, LONGEST))
        for index, row in enumerate(rows)
        if (subject := items[row["item_id"]]["declared_subject"]) and not malformed(row["text"])
    }
    if not pairs:
        return [row | {"likeness": None, "encoder": None} for row in rows]
    encoder = encoder_name(home.text_encoder)
    vectors = text_vectors(home, encoder, sorted({text for text, _ in pairs.values()}))
    subjects = sorted({subject for _, subject in pairs.values()})
    declared = dict(zip(subjects, TextEncoder(home.text_encoder).embed(subjects), strict=True))
    likeness = {
        index: round(float(sum(a * b for a, b in zip(vectors[text], declared[subject], strict=True))), 6)
        for index, (text, subject) in pairs.items()
    }
    return [row | {"likeness": likeness.get(index), "encoder": encoder} for index, row in enumerate(rows)]


def visual_caption_rows(facts: Facts, visual: Iterable[Row], subject_at_least: float) -> list[dict[str, Any]]:
    """Rows of table `captions` from a clip's rows of `visual_captions`: refused where something speaks against it."""
    named = {key: facts.shot[key] for key in KEYS}
    return [
        named
        | caption_row(
            "long",
            row["variant"],
            clean(row["text"], LONGEST),
            row["captioner"],
            [(clean(row["text"], LONGEST), f"captioner {row['captioner']}, frame {row['frame']}")],
            refused=[*malformed(row["text"]), *contradictions(row, facts, subject_at_least)],
        )
        for row in visual
    ]


def malformed(text: str) -> list[str]:
    """What is wrong with the words themselves, as codes with detail; whatever was declared."""
    words = text.lower().split()
    problems = []
    if sum(any(map(str.isalpha, word)) for word in words) < 2:
        problems.append("caption.empty: fewer than two words")
    if len(text) > LONGEST:
        problems.append(f"caption.too_long: {len(text)} characters, {LONGEST} allowed")
    if misleading_signs(text):
        problems.append("caption.control_characters: signs that are not seen or turn the reading order")
    phrases = Counter(zip(words, words[1:], words[2:], strict=False))
    stuck = sum(word == following for word, following in pairwise(words))
    if stuck > REPEATS or max(phrases.values(), default=0) > REPEATS:
        problems.append("caption.repeats: the same words again and again")
    return problems


def contradictions(row: Row, facts: Facts, subject_at_least: float) -> list[str]:
    """Where what was seen speaks against what is declared and was not refuted, with both values."""
    problems, declared, text = [], facts.item["declared_time_of_day"], row["text"]
    if facts.verdicts.get("time_of_day") != "fail":
        others = sorted(time for time in times_named(text) if times_conflict(time, declared))
        problems += [f"caption.contradicts_time_of_day: says {time}, declared is {declared}" for time in others]
    if (people := PEOPLE.search(text)) and not json.loads(facts.item["persons_json"]):
        problems.append(f"caption.contradicts_people: says {people[0]}, nobody is declared")
    if row["likeness"] is not None and row["likeness"] < subject_at_least:
        subject = facts.item["declared_subject"]
        problems.append(f"caption.contradicts_subject: likeness {row['likeness']:.3f} to the declared {subject!r}")
    return problems
