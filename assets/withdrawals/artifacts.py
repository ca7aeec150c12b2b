"""Where the things made of a clip or by a model lie, and how they are deleted, sealed away and brought back.

Belongs here: the naming conventions of the store and the lake, and acts that may be repeated after a crash at any
moment. A sealed thing keeps its name below `sealed/<withdrawal>/`, where no stage reads. When which act is due is
`execute`'s business.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from assets.consent.withdrawal_log import Item
from assets.home import Home
from assets.signals.files import result_key
from assets.tables import TABLES
from training.model.exposure import ROOTS
from training.model.text import text_key

Act = Literal["keep", "seal", "delete"]
Row = Mapping[str, Any]

MADE_OF_CLIPS = ("frames", "latents")  # <kind>/<version>/<clip_id>.safetensors
MADE_BY_MODELS = ("samples", "release")  # <kind>/<model_key>/...
ROWS_OF_CLIPS = ("captions", "visual_captions", "embeddings")  # tables of the lake with a clip_id and a day
ROWS_OF_MODELS = "samples"
THUMBNAILS = "thumbnails"  # kind of item; its name is that of the file's measurements and the clip's
SHARDS = "shards"  # kind of item; its name is that of a shard of latents (shards/<version>/<shard>) and the clip's
PARTS = (
    THUMBNAILS,
    SHARDS,
)  # of an object that stays: they are always deleted, and made again when the clip comes back


class PolicyError(ValueError):
    """A retention policy that names no kind of thing or no act."""


@dataclass(frozen=True)
class RetentionPolicy:
    """What becomes of things that a withdrawal reaches. Under an open dispute nothing is ever deleted, only sealed."""

    derived: Act = "delete"  # pictures and latents made of the clip, its captions and their embeddings
    generated: Act = "seal"  # what tainted models made: samples and releases
    media: Act = "seal"  # the file that was delivered, where consent was revoked or a dispute upheld

    def __post_init__(self) -> None:
        for kind, act in vars(self).items():
            if act not in get_args(Act) or (act == "keep" and kind != "media"):
                raise PolicyError(f"retention of {kind}: {act!r} is neither seal nor delete")

    @classmethod
    def of(cls, home: Home) -> RetentionPolicy:
        """The home's, its defaults where it says nothing. Raises PolicyError."""
        if unknown := set(home.retention) - {"derived", "generated", "media"}:
            raise PolicyError(f"retention knows derived, generated and media, not {sorted(unknown)}")
        return cls(**home.retention)  # type: ignore[arg-type]  # checked on the way in


def sealed_key(withdrawal_id: str, key: str) -> str:
    return f"sealed/{withdrawal_id}/{key}"


# -- what there is ---------------------------------------------------------------------------------------------------


def made_of(home: Home, clip_ids: Iterable[str], act: Act) -> list[Item]:
    """Pictures and latents of these clips that lie in the store."""
    clip_ids = sorted(clip_ids)
    folders = [(kind, name) for kind in MADE_OF_CLIPS for name in home.store.folders(kind)]
    sharded = [
        Item(f"{index.removesuffix('.json')}/{clip_id}", SHARDS, "delete", clip_id)
        for index in (key for key in home.store.list(SHARDS) if key.endswith(".json"))
        for clip_id in sorted(json.loads(home.store.get(index)).keys() & set(clip_ids))
    ]
    return sharded + [
        Item(key, kind, act, clip_id)
        for clip_id in clip_ids
        for kind, name in folders
        if home.store.exists(key := f"{kind}/{name}/{clip_id}.safetensors")
    ]


def made_by(home: Home, model_keys: Iterable[str], act: Act) -> list[Item]:
    """Samples and releases of these models, and the rows about them."""
    wanted = set(model_keys)
    items = [
        Item(key, kind, act)
        for kind in MADE_BY_MODELS
        for model_key in home.store.folders(kind)
        if model_key in wanted
        for key in home.store.list(f"{kind}/{model_key}")
    ]
    listed = set(home.lake.read(ROWS_OF_MODELS, columns=["model_key"])["model_key"].to_pylist()) & wanted
    return items + [Item(f"lake/{ROWS_OF_MODELS}/{model_key}", "rows", act) for model_key in sorted(listed)]


def rows_about(home: Home, clip_ids: Collection[str], act: Act) -> list[Item]:
    """Captions and embeddings of these clips in the lake, and the encoded texts that nothing else says."""
    items, theirs, others = [], set[str](), set[str]()
    for table in ROWS_OF_CLIPS:
        named: set[str] = set()
        for day in home.lake.partitions(table):
            columns = ["clip_id"] if table == "embeddings" else ["clip_id", "text"]
            for row in home.lake.read(table, day, columns).to_pylist():
                concerned = row["clip_id"] in clip_ids
                named |= {row["clip_id"]} if concerned else set()
                (theirs if concerned else others).add(row.get("text", ""))
        items += [Item(f"lake/{table}/{clip_id}", "rows", act, clip_id) for clip_id in sorted(named)]
    return items + [Item(key, "caches", "delete") for key in _encoded(home, theirs - others)]


def thumbnails_of(home: Home, files: Mapping[str, str]) -> list[Item]:
    """Small pictures of these clips (by clip its file's SHA-256) among the remembered measurements, in any version.

    They are deleted whatever the policy: who may see the clip takes pictures from its file. The measurements stay.
    """
    return [
        Item(f"{key}/{clip_id}", THUMBNAILS, "delete", clip_id)
        for clip_id, sha256 in sorted(files.items())
        for version in home.store.folders("cache/curation")
        if home.store.exists(key := result_key(version, sha256))
        and any(
            shot["clip_id"] == clip_id and shot.get("thumbnail") for shot in json.loads(home.store.get(key))["shots"]
        )
    ]


def _encoded(home: Home, texts: Iterable[str]) -> list[str]:
    """Remembered vectors of these texts, and their tokens on this machine: they are made again whenever a text is."""
    names = [text_key(text) for text in sorted(texts)]
    keys = (f"cache/embeddings/{m}/{n[:2]}/{n}.json" for m in home.store.folders("cache/embeddings") for n in names)
    tokens = (path for n in names for path in (home.state / "scratch" / "text-tokens").glob(f"*/{n}.safetensors"))
    return [key for key in keys if home.store.exists(key)] + [p.relative_to(home.state).as_posix() for p in tokens]


def model_of(item: Item) -> str:
    """The model that made a generated thing."""
    return item.item.removeprefix("lake/").split("/")[1]


def clips_of_files(home: Home, media_keys: Collection[str]) -> dict[str, set[str]]:
    """By file the clips that the lake has of it, but for those that consent keeps from being used anyway."""
    shots = home.lake.read("shots", columns=["clip_id", "media_key"])
    rows = shots.filter(pc.is_in(shots["media_key"], pa.array(sorted(media_keys), pa.string()))).to_pylist()
    clips = pa.array(sorted({row["clip_id"] for row in rows}), pa.string())
    table = home.lake.read("eligibility", columns=["clip_id", "reasons"])
    decided = table.filter(pc.is_in(table["clip_id"], clips)).to_pylist()
    lacking = {row["clip_id"] for row in decided if any(code.startswith("consent.") for code in row["reasons"])}
    by_file: dict[str, set[str]] = {key: set() for key in media_keys}
    for row in rows:
        by_file[row["media_key"]] |= {row["clip_id"]} - lacking
    return by_file


# -- acting on it ----------------------------------------------------------------------------------------------------


def carry_out(home: Home, withdrawal_id: str, items: Iterable[Item], sealed_before: Mapping[str, list[str]]) -> None:
    """Delete or seal every item; what is gone already is no error.

    `sealed_before` names, by item, the earlier withdrawals that sealed it: what is to be deleted goes from there, too.
    """
    tables: dict[tuple[str, str], set[str]] = {}
    for item in items:
        if item.kind == "rows":
            _, table, name = item.item.split("/", 2)
            tables.setdefault((table, item.action), set()).add(name)
        elif item.kind == THUMBNAILS:
            _blank(home, *item.item.rsplit("/", 1))
        elif item.kind == SHARDS:
            _leave_out(home, *item.item.rsplit("/", 1))
        elif item.action == "seal":
            _move(home, item.item, sealed_key(withdrawal_id, item.item))
        else:
            home.store.delete(item.item)
            if item.kind == "caches":  # some lie on this machine, wherever the store is
                (home.state / item.item).unlink(missing_ok=True)
        if item.action == "delete":
            for earlier in sealed_before.get(item.item, ()):
                _forget(home, sealed_key(earlier, item.item))
    for (table, action), names in sorted(tables.items()):
        _take_rows(home, withdrawal_id, table, names, seal=action == "seal")


def bring_back(home: Home, withdrawal_id: str, items: Iterable[Item]) -> list[str]:
    """Put sealed items where they were, unless something is there again; returns those that are there now."""
    back = []
    for item in items:
        key = sealed_key(withdrawal_id, item.item)
        if item.kind == "rows":
            for part in list(home.store.list(key)):
                _put_rows_back(home, part, item.item.split("/")[1])
        elif home.store.exists(item.item):
            home.store.delete(key)
        else:
            _move(home, key, item.item)
        if item.kind == "rows" or home.store.exists(item.item):
            back.append(item.item)
    return back


def remains(home: Home, items: Iterable[Item]) -> list[str]:
    """Items that still lie where they were. Rows and thumbnails are items only for as long as they are there."""
    inside = ("rows", *PARTS)  # of an object that stays
    return [item.item for item in items if item.kind in inside or home.store.exists(item.item)]


def is_sealed(home: Home, item: str, withdrawal_ids: Iterable[str]) -> bool:
    """Whether a sealed copy of the object, or of the rows, lies there for one of these withdrawals."""
    keys = [sealed_key(withdrawal_id, item) for withdrawal_id in withdrawal_ids]
    return any(home.store.exists(key) or any(home.store.list(key)) for key in keys)


def forget_scratch(home: Home, model_keys: Iterable[str]) -> None:
    """Unmarked videos that a model left in this machine's working folders."""
    for model_key in model_keys:
        shutil.rmtree(home.state / "scratch" / "samples" / model_key, ignore_errors=True)


def forget_runs(home: Home, roots: Collection[str]) -> list[str]:
    """Checkpoints in the store of runs that did not finish and saw one of these snapshots; the runs' names."""
    gone = []
    for name in home.store.folders("runs"):
        keys = list(home.store.list(f"runs/{name}"))
        states = [json.loads(home.store.get(key)) for key in keys if key.endswith("/state.json")]
        if any(set(roots) & set(state[ROOTS]) for state in states):
            for key in keys:
                home.store.delete(key)
            gone.append(name)
    return gone


def forget_pages(home: Home, clip_ids: Iterable[str]) -> None:
    """Contact sheets of these clips that a reviewer opened on this machine, and every comparison of versions.

    Both can be made again while the files are here.
    """
    shutil.rmtree(home.state / "scratch" / "comparisons", ignore_errors=True)
    for clip_id in clip_ids:
        for page in (home.state / "scratch" / "sheets").glob(f"{clip_id}-*.html"):
            page.unlink(missing_ok=True)


def _forget(home: Home, key: str) -> None:
    """A sealed object, or the rows that were sealed under its name."""
    for part in [key] if home.store.exists(key) else list(home.store.list(key)):
        home.store.delete(part)


def _move(home: Home, key: str, target: str) -> None:
    """Whole at its target before it leaves its place."""
    if home.store.exists(key):
        home.store.put(target, home.store.fetch(key))
        home.store.delete(key)


def _blank(home: Home, key: str, clip_id: str) -> None:
    """A file's measurements without the picture of this clip."""
    kept = json.loads(home.store.get(key))
    shots = [shot | {"thumbnail": None} if shot["clip_id"] == clip_id else shot for shot in kept["shots"]]
    home.store.put(key, json.dumps(kept | {"shots": shots}, sort_keys=True).encode())


def _leave_out(home: Home, shard: str, clip_id: str) -> None:
    """The shard without the latent of this clip, under the name of what is left, whole before the old one goes."""
    if not home.store.exists(f"{shard}.json"):
        return
    from training.data.shards import without  # torch

    index = home.store.fetch(f"{shard}.json")
    with tempfile.TemporaryDirectory() as folder:
        made = without(home.store.fetch(f"{shard}.safetensors"), index, clip_id, Path(folder))
        for path in made:
            home.store.put(f"{shard.rsplit('/', 1)[0]}/{path.name}", path)
    for ending in ("json", "safetensors"):
        home.store.delete(f"{shard}.{ending}")


def _take_rows(home: Home, withdrawal_id: str, table: str, names: set[str], *, seal: bool) -> None:
    """Write each partition without the rows named; sealed ones are kept as JSON first, one file a name."""
    column = "model_key" if table == ROWS_OF_MODELS else "clip_id"
    for day in [None] if table == ROWS_OF_MODELS else home.lake.partitions(table):
        if not names & set(home.lake.read(table, day, [column])[column].to_pylist()):
            continue
        rows = home.lake.rows(table, day)
        taken = [row for row in rows if row[column] in names]
        if seal:
            for name in sorted({row[column] for row in taken}):
                kept = [row for row in taken if row[column] == name]
                data = json.dumps({"day": day, "rows": kept}, sort_keys=True).encode()
                home.store.put(sealed_key(withdrawal_id, f"lake/{table}/{name}/{day or 'all'}.json"), data)
        home.lake.write(table, [row for row in rows if row[column] not in names], day)


def _put_rows_back(home: Home, key: str, table: str) -> None:
    """Rows made again in the meantime stay; the sealed copy goes last."""
    kept, identity = json.loads(home.store.get(key)), TABLES[table].key
    rows = home.lake.rows(table, kept["day"])
    there = {tuple(row[name] for name in identity) for row in rows}
    fresh = [row for row in kept["rows"] if tuple(row[name] for name in identity) not in there]
    if fresh:
        home.lake.write(table, rows + fresh, kept["day"])
    home.store.delete(key)
