"""The cost of each step of a refresh in a home of many clips of few people, in time and memory.

`python -m tests.benchmarks large_home` makes homes of 5,000 and of 20,000 clips of three contributors, without a film:
rows of curation, signed consents (one a clip), releases, reviews. Every step of the refresh, and every dbt model by
itself, then runs in a process of its own. A step whose cost grows faster than the clips is a step that one busy
contributor can stop.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.numpy import save

from assets.consent import eligibility, reviewer_agreement, reviews
from assets.consent.audit import audit
from assets.consent.clips import digest as digest_of_clip
from assets.consent.clips import read_clips
from assets.consent.ledger import Ledger
from assets.consent.platform import export, platform_key, platform_ledger
from assets.consent.review_queue import review_queue
from assets.coverage.classes import class_rows
from assets.coverage.gaps import gap_rows
from assets.curation.captioning.structured import Facts, caption_rows
from assets.curation.dedup.groups import resolve
from assets.curation.policy.policy import POLICY
from assets.curation.policy.replay import replay
from assets.curation.policy.verdicts import by_clip
from assets.database import writing
from assets.dataset import sealed
from assets.dataset.renditions import key
from assets.dataset.sampling_weights import weigh as weigh_snapshot
from assets.dataset.snapshot import build
from assets.home import Home
from assets.signals.phash import HASH_BYTES
from assets.warehouse.opening import mart_rows, opened
from assets.withdrawals.plan import act_on_ledger
from tests.assets.curation.corpus import write_corpus
from tests.benchmarks.harness import cpu_s, peak_mib, timed
from tests.dbt.small_lake import SmallLake, digest
from training.consent import events as ev
from training.consent.events import PLATFORM
from training.consent.keys import key_id_of, public_bytes
from training.consent.times import time_text

SIZES = (5_000, 20_000)
CONTRIBUTORS, CLIPS_A_DAY, SEEN_EVERY = 3, 250, 4  # in every so manieth clip the contributor's friend is seen
NOW = datetime.now(UTC).replace(microsecond=0)
BEFORE = NOW - timedelta(days=1)


def make_home(root: Path, clips: int, contributors: int = CONTRIBUTORS) -> Home:
    """A home in which everything was delivered, measured, signed for and reviewed, and nothing was refreshed yet."""
    home = Home.local(root)
    days = write_corpus(home, max(1, clips // CLIPS_A_DAY), min(clips, CLIPS_A_DAY), contributors=contributors)
    for day in days:
        items = [_answering(row) for row in home.lake.rows("delivery_items", day)]
        home.lake.write("delivery_items", items, day)
        signals = [row | {"frame_phashes": _hashes(row["clip_id"])} for row in home.lake.rows("signals", day)]
        home.lake.write("signals", signals, day)
        delivery = {"delivery_id": f"d-{day}", "received_day": day, "received_at": f"{day}T08:00:00Z", "folder": day}
        manifest = {"contributor_id": None, "items_declared": len(items), "manifest_sha256": digest(day)}
        home.lake.write("deliveries", [delivery | manifest | {"state": "accepted", "reasons": []}], day)
    _sign(home, contributors)
    _ask_for(home, clips // 2)
    return home


def _answering(item: dict[str, Any]) -> dict[str, Any]:
    friend = f'[{{"person_id": "p-{item["contributor_id"]}", "identifiable": true, "minor": false}}]'
    seen = item["position"] % SEEN_EVERY == 0
    return item | {"request_id": "r-1", "persons_json": friend if seen else "[]"}


def _hashes(clip_id: str) -> list[str]:
    """Of frames that are like no other clip's."""
    drawn = random.Random(clip_id)
    return [drawn.randbytes(HASH_BYTES).hex() for _ in range(8)]


def _sign(home: Home, contributors: int) -> None:
    """One grant a clip, one release a clip in which somebody is seen, and one revocation a contributor."""
    ledger, platform = platform_ledger(home, BEFORE), platform_key(home)
    terms = {"notice_sha256": digest("notice"), "terms_sha256": digest("terms")}
    keys, envelopes = {}, []
    for name in (f"{kind}{number}" for number in range(contributors) for kind in ("c-", "p-c-")):
        keys[name] = Ed25519PrivateKey.generate()
        key_id = key_id_of(public_bytes(keys[name]))
        attested = ev.enrol(name, key_id, BEFORE, evidence_sha256=digest(name), officer="o-1")
        envelopes += [ev.sign(attested, platform), ev.sign(ev.register_key(name, keys[name], BEFORE), keys[name])]
    revoked: dict[str, str] = {}
    for item in home.lake.rows("delivery_items"):
        who, file = item["contributor_id"], digest(item["item_id"])
        grant = ev.grant(who, "contributor", [file], ["train"], BEFORE, **terms)
        revoked.setdefault(who, grant["consent_id"])
        envelopes.append(ev.sign(grant, keys[who]))
        if item["persons_json"] != "[]":
            seen = f"p-{who}"
            envelopes.append(ev.sign(ev.grant(seen, "depicted", [file], ["train"], BEFORE, **terms), keys[seen]))
    for who, consent_id in revoked.items():
        envelopes.append(ev.sign(ev.revoke(consent_id, who, "contributor", BEFORE), keys[who]))
    for start in range(0, len(envelopes), 5_000):
        ledger.append_many(envelopes[start : start + 5_000], BEFORE)
    ledger.engine.dispose()


def _ask_for(home: Home, units: int) -> None:
    lake = SmallLake()
    wanted = {"time_of_day": "day", "aspect_ratio": None, "duration_min_s": None, "duration_max_s": None}
    lake.request("r-1", **wanted, target_units=units, budget_minor=500 * units)
    home.lake.write("requests", lake.rows["requests"])


def review(home: Home) -> None:
    """Two approvals a clip, by people of two organisations; written at once, since one transaction each takes long."""
    people = {"v-1": "org-one", "v-2": "org-two"}
    for name, organisation in people.items():
        reviews.enrol_reviewer(home.database_url, name, organisation, by="o-1", now=BEFORE)
    verdict = {"round": 1, "verdict": "approve", "reasons_json": "[]", "non_identifiable": 0}
    rows = [
        {"clip_id": clip.facts.clip_id, "item_id": clip.facts.item_id, "shot_index": clip.facts.shot_index}
        | {"digest": digest_of_clip(clip), "persons_counted": len(clip.facts.persons), **verdict}
        | {"reviewer_id": name, "organisation": organisation, "reviewed_at": time_text(BEFORE)}
        for clip in read_clips(home)
        for name, organisation in people.items()
    ]
    with writing(reviews.review_engine(home.database_url)) as connection:
        connection.execute(sa.insert(reviews.review_rows), rows)


# -- the steps of a refresh, in their order ----------------------------------------------------------------------------


def decide_checks(home: Home) -> None:
    replay(home, POLICY, write=True)


def tell(home: Home) -> None:
    for day in home.lake.partitions("shots"):
        items = {row["item_id"]: row for row in home.lake.rows("delivery_items", day)}
        signals = by_clip(home.lake.rows("signals", day))
        rows = []
        for shot in home.lake.rows("shots", day):
            rows += caption_rows(Facts(shot, items[shot["item_id"]], signals[shot["item_id"], shot["shot_index"]], {}))
        home.lake.write("captions", rows, day)


def export_ledger(home: Home) -> None:
    export(home)


def audit_ledger(home: Home) -> None:
    assert not list(audit(Ledger(home.database_url)))


def resolve_duplicates(home: Home) -> None:
    home.lake.write("duplicates", resolve(home).rows)


def classify(home: Home) -> None:
    home.lake.write("clip_classes", class_rows(home, None))


def count_reviews(home: Home) -> None:
    home.lake.write("reviews", reviewer_agreement.rows(home))
    rows = home.lake.rows("reviews")
    reviewer_agreement.pairs(rows), review_queue(home)


def decide_eligibility(home: Home) -> None:
    eligibility.write(home, NOW)
    assert any(row["eligible"] for row in home.lake.rows("eligibility"))


def check_default_deny(home: Home) -> None:
    assert not eligibility.default_deny_problems(home, NOW)


def look_ahead(home: Home) -> None:
    eligibility.record_counts(home, home.lake.rows("eligibility"), "train", NOW)
    eligibility.outlook(home, "train", NOW)


def show(home: Home) -> None:
    """As if every clip had been decoded for the model already."""
    black = save({"frames": np.zeros((1, 16, 16, 3), np.uint8)})
    for clip_id in home.lake.read("shots").column("clip_id").to_pylist():
        home.store.put(key(clip_id), black)


def seal_snapshot(home: Home) -> None:
    build(home, NOW)


def weigh(home: Home) -> None:
    weigh_snapshot(home, sealed.current(home))


def ask_the_guard(home: Home) -> None:
    assert not sealed.consent_violation(home, sealed.current(home))


def find_gaps(home: Home) -> None:
    fulfilment, coverage = mart_rows(home, "fct_request_fulfilment"), mart_rows(home, "mart_coverage")
    gap_rows(fulfilment, home.lake.rows("requests"), coverage)


def withdraw(home: Home) -> None:
    """What the ledger sensor does after a contributor has withdrawn everything."""
    ledger, who = Ledger(home.database_url), "c-0"
    granted = {event.body["consent_id"] for event in ledger.events(parties=[who]) if event.type == "grant"}
    ended = (ev.revoke(consent, who, "contributor", NOW, actor=PLATFORM) for consent in sorted(granted))
    ledger.append_many([ev.sign(body, platform_key(home)) for body in ended], NOW)
    actions = act_on_ledger(home, 0, NOW, budget_s=3_600)
    assert (actions.unfinished, actions.failing) == ((), ()), actions.summary


BEFORE_WAREHOUSE = (
    *(decide_checks, tell, export_ledger, audit_ledger, resolve_duplicates, classify, review, count_reviews),
    *(decide_eligibility, check_default_deny, look_ahead),
)
AFTER_WAREHOUSE = (show, seal_snapshot, weigh, ask_the_guard, find_gaps, withdraw)


# -- measuring -------------------------------------------------------------------------------------------------------


def build_warehouse(home: Home) -> None:
    from assets.warehouse.project import PROJECT_DIR, begin_build, environment, finish_build  # loads Dagster

    target = begin_build(home)
    places = {"DBT_PROFILES_DIR": PROJECT_DIR, "DBT_TARGET_PATH": home.scratch("dbt"), "DBT_LOG_PATH": home.state}
    variables = environment(home, target) | {name: str(place) for name, place in places.items()}
    command = [str(Path(sys.executable).with_name("dbt")), "--no-use-colors", "build"]
    done = subprocess.run(command, cwd=PROJECT_DIR, env=os.environ | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    finish_build(home, target)


def build_model(home: Home, compiled: Path) -> None:
    """A model of the warehouse by itself, from those below it as they are built there."""
    with opened(home) as connection:
        connection.execute(f"create temp table built as {compiled.read_text()}")


def models(home: Home) -> list[Path]:
    """What dbt made of every model but the staging ones, which rename."""
    compiled = sorted(home.scratch("dbt").glob("compiled/rushes/models/*/*.sql"))
    return [path for path in compiled if path.parent.name != "staging"]


def measured(step: Callable[..., Any], *arguments: Any) -> dict[str, float]:
    """Seconds of processors and of the clock, and MiB at most, of a step in a process of its own; importing takes 120."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, step, arguments).result()


def _measured(step: Callable[..., Any], arguments: tuple[Any, ...]) -> dict[str, float]:
    _, spent = timed(lambda: step(*arguments))
    return spent | {"cpu_s": round(cpu_s(), 2), "peak_mib": int(peak_mib())}  # with imports and children


def steps_of(root: Path, clips: int) -> Iterator[tuple[str, dict[str, float]]]:
    yield "make_home", measured(make_home, root, clips)
    home = Home.local(root)
    for step in BEFORE_WAREHOUSE:
        yield step.__name__, measured(step, home)
    yield "build_warehouse", measured(build_warehouse, home)
    for compiled in models(home):
        yield compiled.stem, measured(build_model, home, compiled)
    for step in AFTER_WAREHOUSE:
        yield step.__name__, measured(step, home)


def large_home(clips: tuple[int, ...] = SIZES, folder: Path | None = None) -> dict[str, Any]:
    """Figures of every step by the number of clips."""
    steps: dict[str, Any] = {}
    for count in clips:
        with tempfile.TemporaryDirectory(dir=folder) as root:
            for name, figures in steps_of(Path(root), count):
                print(count, name, figures, flush=True)
                steps.setdefault(name, {})[str(count)] = figures
    return {"contributors": CONTRIBUTORS, "steps": steps}
