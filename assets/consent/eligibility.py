"""The eligibility table: every clip's decision for a purpose, and proof that the default is no."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from assets.consent.clip_facts import clip_facts, decide
from assets.home import Home
from assets.lake import Written
from assets.reasons import in_words
from training.consent.eligibility import PURPOSE, TERRITORY, decision_digest, eligible
from training.consent.state import ConsentState


def write(home: Home, now: datetime) -> Written:
    """Decide every clip and replace table `eligibility`. No time enters a row."""
    return home.lake.write(
        "eligibility",
        [
            {
                "clip_id": facts.clip_id,
                "item_id": facts.item_id,
                "shot_index": facts.shot_index,
                "purpose": PURPOSE,
                "eligible": decision.eligible,
                "reasons": list(decision.reasons),
                "consent_ids": list(decision.consent_ids),
                "decision_digest": decision_digest(facts, PURPOSE, TERRITORY, decision.consent_ids),
            }
            for facts, decision in decide(home, PURPOSE, now)
        ],
    )


def reason_table(rows: Sequence[Mapping[str, Any]], examples: int = 3) -> list[dict[str, Any]]:
    """How many clips each reason keeps out, most first: {reason, clips, share, says, examples}. One clip counts under all
    its reasons."""
    kept_out: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for reason in row["reasons"]:
            kept_out[reason].append(row["clip_id"][:12])
    return [
        {
            "reason": reason,
            "clips": len(clips),
            "share": f"{len(clips) / len(rows):.1%}",
            "says": in_words(reason),
            "examples": ", ".join(clips[:examples]),
        }
        for reason, clips in sorted(kept_out.items(), key=lambda counted: (-len(counted[1]), counted[0]))
    ]


def default_deny_problems(home: Home, now: datetime) -> list[str]:
    """Where the table says yes without ground, in sentences; empty when default deny holds."""
    rows = home.lake.rows("eligibility")
    decided = {(row["clip_id"], row["item_id"], row["shot_index"]) for row in rows}
    facts = clip_facts(home)
    in_lake = {(clip.clip_id, clip.item_id, clip.shot_index) for clip in facts}
    problems = [f"clip {key[0][:16]} has no decision" for key in sorted(in_lake - decided)]
    problems += [f"clip {key[0][:16]} is decided but not known" for key in sorted(decided - in_lake)]
    for row in rows:
        if row["eligible"] and (row["reasons"] or not row["consent_ids"]):
            problems.append(f"clip {row['clip_id'][:16]} is eligible without consent or in spite of reasons")
        if not row["eligible"] and not row["reasons"]:
            problems.append(f"clip {row['clip_id'][:16]} is kept out without a reason")
    nobody = ConsentState()
    problems += [
        f"clip {clip.clip_id[:16]} would be eligible with no consent at all"
        for clip in facts
        if eligible(clip, PURPOSE, now, now, nobody).eligible
    ]
    return problems
