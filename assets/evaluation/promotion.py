"""Which version serves: gathers the facts for the gate, moves the alias `champion`, and guards it against mistakes.

What belongs here: everything that opens, moves or checks the alias `champion`. The rules are `gate`'s; a withdrawal's
way to the versions that it reaches is the consent stage's.
"""

from __future__ import annotations

import json

from assets.consent.standing import standing_violations
from assets.evaluation import gate, measuring, verdicts
from assets.evaluation.gate import Contender, Decision
from assets.evaluation.scorecards import Scorecard, stored_scorecard
from assets.evaluation.verdicts import Case, Verdict
from assets.home import Home
from assets.model.published import exposure_of
from assets.registry.versions import CHAMPION, Registry, Version
from training.consent.ledger import LedgerReader

VERDICT = "gate_verdict"  # the tag that says where the last verdict is kept


class PromotionRefused(RuntimeError):
    """A version that must not become champion; the message says why not."""


def contender(home: Home, version: Version, scorecard: Scorecard | None = None) -> Contender:
    """What is known of a version, its consent asked of the ledger at this moment.

    `scorecard` replaces the values that were stored when the version was measured first; copies are always looked for
    among the clips that it was trained on, so that finding stays.
    """
    own = stored_scorecard(home, version.model_key)
    card = scorecard or own
    measured = gate.scores(card.rows) if card else {}
    psnr = measured.get(("reconstruction_psnr", gate.OVERALL))
    copies = gate.scores(own.rows if own else ()).get((gate.COPIES, gate.OVERALL))
    return Contender(
        version=version.number,
        heldout=card.heldout if card else None,
        latents=measuring.encoding(home, version.model_key),
        values=card.values if card else {},
        base=measuring.base_key(home, version.model_key),
        base_apart=card.base_apart if card else "",
        psnr_db=psnr.value if psnr else None,
        copies=round(copies.value) if copies else None,
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
        standing = gate.Reason("champion", True, "is the champion already")
        return Decision(candidate, None, not broken, tuple(broken) or (standing,))
    serving = registry.version(current) if current else None
    rival = contender(home, serving, rescored) if serving else None
    case = Case.of(version.model_key, serving.model_key if serving else None, _head(home), facts, rival)
    verdict = verdicts.find(home, case) or verdicts.record(home, case, gate.decide(facts, rival))
    if version.tags.get(VERDICT) != verdict.key:  # new, or what follows from it was interrupted
        if verdict.decision.promote:
            registry.set_alias(CHAMPION, candidate)
        _tag(registry, candidate, verdict)
    return verdict.decision


def _head(home: Home) -> str:
    """The ledger's head, as size:root."""
    head = LedgerReader(home.database_url).head()
    return f"{head.size}:{head.root}"


def _tag(registry: Registry, version: str, verdict: Verdict) -> None:
    """The last verdict, on the version's page. What tells that all of it is there goes last."""
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
    """Take the alias `champion` from a version that must not serve, whoever put it there; says what was found.

    It goes to the newest version that passed the gate and may still serve, or is closed when there is none. The
    reason is tagged on the version that lost it.
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
    """Whether the gate ever passed it, whatever it said of it later, or a person chose it."""
    chosen = version.tags.get("gate") == "passed" or "promoted_by" in version.tags
    return chosen or verdicts.ever_passed(home, version.model_key)
