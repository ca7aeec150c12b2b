"""Which version serves: gathers the facts for the gate, moves the alias `champion`, and guards it against mistakes.

Whatever moves or checks that alias is here, and writes into its `history`; and what a person on call has to know of it
(`Standing`): whether a version serves, whether it may, and whether nights still end well. The rules are in `gate`; whoever
watches decides whom to alert.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from assets.consent.standing import standing_violations
from assets.evaluation import decisions, gate, history, measuring
from assets.evaluation.decisions import NO_RIVAL, Case, Decision, Reason, Verdict
from assets.evaluation.gate import Contender
from assets.evaluation.history import DEMOTED, FOUND, NONE, OUTSIDE, PROMOTED, REFUSED, Event
from assets.home import Home
from assets.model.published import COPIES, Scorecard, exposure_of, stored_scorecard
from assets.registry import CHAMPION, Registry, Version
from assets.store import remembered
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
        pretrained=bool(measuring.pretrained_base(home, version.model_key)),
        psnr_db=card.value("reconstruction_psnr") if card else None,
        copies=None if copies is None else round(copies),
        taint=version.taint,
        consent=tuple(standing_violations(home, *exposure_of(home, version))),
    )


def decide_and_move(
    home: Home, candidate: str, rescored: Scorecard | None = None, by: str = "the platform"
) -> Decision:
    """Run the gate for a version and make it champion if it passes. Deciding the same case again changes nothing.

    `rescored` is the champion's scorecard on the clips that the candidate was measured on, `by` the run that asks. The
    verdict joins the history and is tagged on the candidate. The champion itself is asked about hard rules alone, and keeps
    the verdict that it has.
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
        promoted = verdict.decision.promote
        if promoted:
            registry.set_alias(CHAMPION, candidate)
        what, after = (PROMOTED, candidate) if promoted else (REFUSED, current or NONE)
        _note(registry, Event(what, candidate, current or NONE, after, by, verdict.decision.summary, verdict.key))
        _tag(registry, candidate, verdict)
    return verdict.decision


def _head(home: Home) -> str:
    """The ledger's head, as size:root."""
    head = LedgerReader(home.database_url).head()
    return f"{head.size}:{head.root}"


def _facts_digest(*contenders: Contender | None) -> str:
    facts: list[Any] = [gate.RULES]
    for each in contenders:  # `pretrained` counts where it is true: earlier verdicts knew nothing of it
        facts.append({k: v for k, v in asdict(each).items() if k != "pretrained" or v} if each else None)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _note(registry: Registry, event: Event) -> None:
    """Add to the history, and show it on the page of the registered model."""
    if history.append(registry.home, event):
        registry.describe_model(history.page(history.events(registry.home)))


def _tag(registry: Registry, version: str, verdict: Verdict) -> None:
    """Put the last verdict on the version's page. The tag that marks it as complete is written last."""
    decision = verdict.decision
    registry.tag(version, "gate", "passed" if decision.promote else "refused")
    registry.tag(version, "gate_reasons", decision.summary[:5000])
    details = [{"rule": r.rule, "passed": r.passed, "detail": r.detail} for r in decision.reasons]
    registry.tag(version, "gate_rules", json.dumps(details)[:5000])
    registry.describe(version)
    registry.tag(version, VERDICT, verdict.key)


def promote(home: Home, version: str, by: str, why: str = "") -> str:
    """A person makes `version` the champion: quality is theirs to judge, the hard rules bind them as well.

    `by` and `why` join the history, as does a refusal. Returns what was done. Raises PromotionRefused with every hard rule
    that the version breaks, LookupError for a version that is not there.
    """
    registry, who = Registry(home), f"person {by}"
    chosen, before = registry.version(version), registry.alias(CHAMPION)
    if broken := _broken(home, chosen):
        _note(registry, Event(REFUSED, chosen.number, before or NONE, before or NONE, who, broken))
        raise PromotionRefused(f"version {version} must not be champion: {broken}")
    if before != chosen.number:
        registry.set_alias(CHAMPION, chosen.number)
    elif history.champion(home) in (None, chosen.number):
        return f"version {version} is the champion already"
    registry.tag(chosen.number, "promoted_by", who)
    _note(registry, Event(PROMOTED, chosen.number, before or NONE, chosen.number, who, why or "no reason was given"))
    return f"version {version} is the champion now" + (f", in place of version {before}" if before else "")


def _broken(home: Home, version: Version) -> str:
    failed = [reason for reason in gate.hard_rules(contender(home, version)) if not reason.passed]
    return "; ".join(f"{reason.rule}: {reason.detail}" for reason in failed)


def reconcile_champion(home: Home, by: str = "the platform") -> str:
    """Take the alias `champion` from a version that must not serve, whoever set it. Returns what was done.

    It goes to the newest version that passed the gate and may still serve, or is removed if there is none. The reason is
    tagged on the version that lost it. A move that the history does not have was made outside, and joins it.
    """
    registry = Registry(home)
    current = registry.alias(CHAMPION)
    _note_outside(registry, current)
    if current is None:
        return "no version is champion"
    why = _broken(home, registry.version(current))
    if not why:
        return f"version {current} may serve"
    registry.tag(current, "refused_as_champion", why[:5000])
    other = _next_champion(registry, current)
    if other is None:
        registry.delete_alias(CHAMPION)
    else:
        registry.set_alias(CHAMPION, other)
    _note(registry, Event(DEMOTED, current, current, other or NONE, by, why))
    then = f"version {other} is champion again" if other else "no other version may, so there is no champion"
    return f"version {current} must not serve ({why}); {then}"


def _next_champion(registry: Registry, current: str) -> str | None:
    """The newest other version that was accepted once and may still serve."""
    for other in registry.versions():
        accepted = other.number != current and other.taint is None and _was_accepted(registry.home, other)
        if accepted and not _broken(registry.home, other):
            return other.number
    return None


def _note_outside(registry: Registry, current: str | None) -> None:
    """Add a move of the alias that nobody reported: made in MLflow, or before there was a history."""
    before, now = history.champion(registry.home), current or NONE
    if before is None and current is not None:
        _note(registry, Event(FOUND, current, NONE, current, "unknown", "it was champion when this history began"))
    elif before not in (None, now):
        moved = current or str(before)
        _note(registry, Event(OUTSIDE, moved, str(before), now, "unknown", "the alias was moved outside, as in MLflow"))


def _was_accepted(home: Home, version: Version) -> bool:
    """Whether the gate ever passed it, whatever it decided later, or a person chose it."""
    chosen = version.tags.get("gate") == "passed" or "promoted_by" in version.tags
    return chosen or decisions.ever_passed(home, version.model_key)


CHECK = "something_serves"  # the check on the asset `champion` that shows this
HEARTBEAT = "heartbeat.json"  # in the state folder; whoever watches the nights writes it
LATE = timedelta(hours=26)  # since the last night that ended well: a day, and time for the night itself
WATCHED = timedelta(hours=1)  # since somebody last watched; after that, nobody expects nights
NOTHING, FORBIDDEN, UNKNOWN, STOPPED = "nothing serves", "must not serve", "unknown", "nights stopped"


@dataclass(frozen=True)
class Standing:
    """The version that serves (None if none does or nobody can tell), and what is wrong, by kind.

    `expected` is whether anything could serve: in a new home, no model was registered yet.
    """

    serving: str | None
    wrong: dict[str, str] = field(default_factory=dict)
    expected: bool = True

    @property
    def serious(self) -> bool:
        """Whether consent may forbid what is served, or nobody can tell."""
        return bool(self.wrong.keys() & {FORBIDDEN, UNKNOWN})

    def __str__(self) -> str:
        return "; ".join(self.wrong.values()) or f"version {self.serving} serves"


def standing_of(home: Home, now: datetime) -> Standing:
    """Ask the registry, the ledger and the heartbeat."""
    return with_nights(home, champion_of(home), now)


def champion_of(home: Home) -> Standing:
    """Ask the registry and the ledger. What cannot be asked is unknown, never assumed."""
    try:
        return _champion(home)
    except Exception as error:  # whatever the client of a registry or a database raises; its text may hold a password
        why = f"it is unknown what serves: the registry or the ledger cannot be read ({type(error).__name__})"
        return Standing(None, {UNKNOWN: why})


def with_nights(home: Home, standing: Standing, now: datetime) -> Standing:
    """The same, and whether nights still end well."""
    late = _late(read_heartbeat(home), now)
    return replace(standing, wrong=standing.wrong | ({STOPPED: late} if late else {}))


def _champion(home: Home) -> Standing:
    registry = Registry(home)
    versions = registry.versions()
    version = next((version for version in versions if CHAMPION in version.aliases), None)
    if version is None:
        return Standing(None, {NOTHING: "no version serves"}, expected=bool(versions))
    wrong = version.taint
    if wrong is None and (violations := standing_violations(home, *exposure_of(home, version))):
        wrong = f"consent does not hold for {violations[0]}"
    forbidden = {FORBIDDEN: f"version {version.number} serves and must not: {wrong}"} if wrong else {}
    return Standing(version.number, forbidden)


def read_heartbeat(home: Home) -> dict[str, Any]:
    """What was written last: `night`, `since` and `looked_at` in ISO 8601; empty if nobody ever watched."""
    return remembered(home.state / HEARTBEAT)


def _late(heartbeat: dict[str, Any], now: datetime) -> str | None:
    looked_at, night, since = (_moment(heartbeat.get(name)) for name in ("looked_at", "night", "since"))
    if not (looked_at and since) or now - looked_at > WATCHED:
        return None
    last = max(time for time in (night, since) if time)
    if now - last <= LATE:
        return None
    hours = (now - last).total_seconds() / 3600
    return f"no night ended well for {hours:.0f} hours" + ("" if night else ", since the schedule was started")


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
