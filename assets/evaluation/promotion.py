"""Which version serves: gathers the facts for the gate, moves the alias `champion`, and guards it against mistakes.

Whatever opens, moves or checks that alias is here. The rules are in `gate`; `standing` only reads.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from assets.consent.standing import standing_violations
from assets.evaluation import decisions, gate, measuring
from assets.evaluation.decisions import NO_RIVAL, Case, Decision, Reason, Verdict
from assets.evaluation.gate import Contender
from assets.home import Home
from assets.model.published import exposure_of
from assets.model.scorecards import COPIES, Scorecard, stored_scorecard
from assets.registry.versions import CHAMPION, Registry, Version
from training.consent.ledger import LedgerReader

VERDICT = "gate_verdict"  # the tag that says where the last verdict is kept


class PromotionRefused(RuntimeError):
    """A version that must not become champion; the message says why not."""


def contender(home: Home, version: Version, scorecard: Scorecard | None = None) -> Contender:
    """What is known of a version, its consent asked of the ledger at this moment.

    `scorecard` replaces the values of the version's first scorecard. Copies are always taken from the first one, because
    they are looked for among the clips that the version was trained on.
    """
    own = stored_scorecard(home, version.model_key)
    card = scorecard or own
    copies = own.value(COPIES) if own else None
    return Contender(
        version=version.number,
        heldout=card.heldout if card else None,
        latents=measuring.encoding(home, version.model_key),
        values=card.values if card else {},
        base=measuring.base_key(home, version.model_key),
        base_apart=card.base_apart if card else "",
        psnr_db=card.value("reconstruction_psnr") if card else None,
        copies=None if copies is None else round(copies),
        taint=version.taint,
        consent=tuple(standing_violations(home, *exposure_of(home, version))),
    )


def decide_and_move(home: Home, candidate: str, rescored: Scorecard | None = None) -> Decision:
    """Run the gate for a version and make it champion if it passes. Deciding the same case again changes nothing.

    `rescored` is the champion's scorecard on the clips that the candidate was measured on. The verdict joins the history
    and is tagged on the candidate. The champion itself is asked about hard rules alone, and keeps the verdict that it has.
    """
    registry = Registry(home)
    version, current = registry.version(candidate), registry.alias(CHAMPION)
    facts = contender(home, version)
    if current == candidate:
        broken = [reason for reason in gate.hard_rules(facts) if not reason.passed]
        standing = Reason("champion", True, "is the champion already")
        return Decision(candidate, None, not broken, tuple(broken) or (standing,))
    serving = registry.version(current) if current else None
    rival = contender(home, serving, rescored) if serving else None
    digest = _facts_digest(facts, rival)
    case = Case(version.model_key, serving.model_key if serving else NO_RIVAL, _head(home), digest)
    verdict = decisions.find(home, case) or decisions.record(home, case, gate.decide(facts, rival))
    if version.tags.get(VERDICT) != verdict.key:  # new, or what follows from it was interrupted
        if verdict.decision.promote:
            registry.set_alias(CHAMPION, candidate)
        _tag(registry, candidate, verdict)
    return verdict.decision


def _head(home: Home) -> str:
    """The ledger's head, as size:root."""
    head = LedgerReader(home.database_url).head()
    return f"{head.size}:{head.root}"


def _facts_digest(*contenders: Contender | None) -> str:
    facts = [gate.RULES, *(asdict(contender) if contender else None for contender in contenders)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _tag(registry: Registry, version: str, verdict: Verdict) -> None:
    """Put the last verdict on the version's page. The tag that marks it as complete is written last."""
    decision = verdict.decision
    registry.tag(version, "gate", "passed" if decision.promote else "refused")
    registry.tag(version, "gate_reasons", decision.summary[:5000])
    details = [{"rule": r.rule, "passed": r.passed, "detail": r.detail} for r in decision.reasons]
    registry.tag(version, "gate_rules", json.dumps(details)[:5000])
    registry.tag(version, VERDICT, verdict.key)


def promote(home: Home, version: str) -> str:
    """A person makes `version` the champion: quality is theirs to judge, the hard rules bind them as well.

    Returns what was done. Raises PromotionRefused with every hard rule that the version breaks, LookupError for a
    version that is not there.
    """
    registry = Registry(home)
    chosen = registry.version(version)
    if broken := _broken(home, chosen):
        raise PromotionRefused(f"version {version} must not be champion: {broken}")
    before = registry.alias(CHAMPION)
    if before == chosen.number:
        return f"version {version} is the champion already"
    registry.set_alias(CHAMPION, chosen.number)
    registry.tag(chosen.number, "promoted_by", "person")
    return f"version {version} is the champion now" + (f", in place of version {before}" if before else "")


def _broken(home: Home, version: Version) -> str:
    failed = [reason for reason in gate.hard_rules(contender(home, version)) if not reason.passed]
    return "; ".join(f"{reason.rule}: {reason.detail}" for reason in failed)


def reconcile_champion(home: Home) -> str:
    """Take the alias `champion` from a version that must not serve, whoever set it. Returns what was done.

    It goes to the newest version that passed the gate and may still serve, or is removed if there is none. The reason is
    tagged on the version that lost it.
    """
    registry = Registry(home)
    current = registry.alias(CHAMPION)
    if current is None:
        return "no version is champion"
    why = _broken(home, registry.version(current))
    if not why:
        return f"version {current} may serve"
    registry.tag(current, "refused_as_champion", why[:5000])
    for other in registry.versions():
        accepted = other.number != current and other.taint is None and _was_accepted(home, other)
        if accepted and not _broken(home, other):
            registry.set_alias(CHAMPION, other.number)
            return f"version {current} must not serve ({why}); version {other.number} is champion again"
    registry.delete_alias(CHAMPION)
    return f"version {current} must not serve ({why}); no other version may, so there is no champion"


def _was_accepted(home: Home, version: Version) -> bool:
    """Whether the gate ever passed it, whatever it decided later, or a person chose it."""
    chosen = version.tags.get("gate") == "passed" or "promoted_by" in version.tags
    return chosen or decisions.ever_passed(home, version.model_key)
