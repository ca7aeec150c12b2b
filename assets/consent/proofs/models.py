"""A model's commitment, and what it proves of a clip: the statements `rushes.model/1`, `rushes.exclusion/1`, `/inclusion/1`.

A commitment names every sealed set that the weights ever saw, its own and those of the models it started from, before
anybody asks about a clip. Pure: bodies are made from what is handed in, and checked by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from assets.consent.proofs.membership import ClipTree, check_exclusion, check_inclusion
from assets.consent.proofs.statements import (
    ProofError,
    Statement,
    check_checkpoint,
    check_growth,
    digest,
    require,
    require_fields,
    statement_holds,
    whole_number,
)
from training.consent.snapshot import ids_root

MODEL, EXCLUSION, INCLUSION = "rushes.model/1", "rushes.exclusion/1", "rushes.inclusion/1"
TUNED = "rushes.model/2"  # of a model that was tuned from a pretrained base: a commitment that names it
_SET = {"snapshot_root", "ids_root", "n"}
_MODEL = {"schema", "model_key", "weights_sha256", *_SET, "exposure", "ledger", "signature"}
_BASE = {"name", "sha256", "licence", "training_data"}
_ANSWER = {"schema", "clip_id", "model", "checkpoint", "consistency", "sets", "signature"}

Body = dict[str, Any]


def committed_set(manifest: Mapping[str, Any]) -> Body:
    """{snapshot_root, ids_root, n} of a sealed manifest."""
    ids = [member["clip_id"] for member in manifest["members"]]
    return {"snapshot_root": manifest["root"], "ids_root": ids_root(ids), "n": len(ids)}


def model_body(
    model_key: str,
    weights_sha256: Mapping[str, str],
    own: Mapping[str, Any],
    exposure: Iterable[Mapping[str, Any]],
    ledger: Mapping[str, Any],
    base: Mapping[str, str] = MappingProxyType({}),
) -> Body:
    """What is signed for a model. `own` and `exposure` are committed sets; `weights_sha256` by file name; `ledger` has
    the signed checkpoints `start` (of the snapshot) and `end` (of the registration) and the `consistency` between them;
    `base` says which pretrained base the model was tuned from, if any.
    """
    sets = {each["snapshot_root"]: dict(each) for each in (*exposure, own)}
    return {
        "schema": TUNED if base else MODEL,
        **({"base": dict(base)} if base else {}),
        "model_key": model_key,
        "weights_sha256": dict(weights_sha256),
        **own,
        "exposure": [sets[root] for root in sorted(sets)],
        "ledger": dict(ledger),
    }


def answer_body(
    clip_id: str,
    model: Statement,
    sets: Mapping[str, Iterable[str]],
    checkpoint: Mapping[str, Any],
    consistency: list[str],
) -> Body:
    """What is signed when somebody asks whether a model saw a clip: of its absence from every set, or of its presence.

    `sets` are the clip ids of every set in the model's exposure, by snapshot root; `consistency` leads from the
    commitment's last checkpoint to `checkpoint`. A clip that is in any set gets an inclusion statement of those it is in.
    """
    trees = {root: ClipTree(ids) for root, ids in sets.items()}
    within = [root for root, tree in trees.items() if clip_id in tree]
    proved = [
        {"snapshot_root": root, **(trees[root].inclusion if within else trees[root].exclusion)(clip_id)}
        for root in sorted(within or trees)
    ]
    return {
        "schema": INCLUSION if within else EXCLUSION,
        "clip_id": clip_id,
        "model": model,
        "checkpoint": dict(checkpoint),
        "consistency": consistency,
        "sets": proved,
    }


def check_model(statement: Any, public_key: bytes) -> list[str]:
    """What a model's commitment shows, in sentences. Raises ProofError."""
    tuned = isinstance(statement, Mapping) and statement.get("schema") == TUNED
    require_fields(statement, _MODEL | ({"base"} if tuned else set()), "a model's commitment")
    require(tuned or statement["schema"] == MODEL, f"not a {MODEL} or {TUNED} statement")
    if tuned:
        require_fields(statement["base"], _BASE, "the base in a model's commitment")
        digest(statement["base"]["sha256"])
    require(statement_holds(statement, public_key), "the signature of the model's commitment does not hold")
    exposure, ledger = statement["exposure"], statement["ledger"]
    require(isinstance(exposure, list) and bool(exposure), "a model's commitment names no set")
    for each in exposure:
        require_fields(each, _SET, "a set in a model's exposure")
        digest(each["snapshot_root"]), digest(each["ids_root"]), whole_number(each["n"], "a set's size")
    roots = [each["snapshot_root"] for each in exposure]
    require(roots == sorted(set(roots)), "the sets of an exposure are not sorted, or one is named twice")
    own = {name: statement[name] for name in _SET}
    require(own in exposure, "the model's own snapshot is not in its exposure")
    require(bool(statement["weights_sha256"]), "a model's commitment names no weights")
    for value in statement["weights_sha256"].values():
        digest(value)
    require_fields(ledger, {"start", "end", "consistency"}, "the ledger of a model's commitment")
    check_checkpoint(ledger["start"], public_key)
    check_checkpoint(ledger["end"], public_key)
    check_growth(ledger["start"], ledger["end"], ledger["consistency"])
    weights = ", ".join(f"{name} {value}" for name, value in sorted(statement["weights_sha256"].items()))
    return [
        f"The platform committed model {statement['model_key']} to {_sets(exposure)}, its own snapshot "
        f"{own['snapshot_root']} among them.",
        f"The commitment binds these weights by SHA-256: {weights}.",
        f"It was made when the ledger had {ledger['end']['size']} events; the ledger then continued the one of "
        f"{ledger['start']['size']} events on which the snapshot was sealed.",
        *([_beyond(statement["base"])] if tuned else []),
    ]


def check_answer(statement: Any, public_key: bytes) -> list[str]:
    """What an exclusion or inclusion statement shows, in sentences. Raises ProofError."""
    require_fields(statement, _ANSWER, "a statement on a clip and a model")
    model, clip_id = statement["model"], statement["clip_id"]
    shown = check_model(model, public_key)
    check_checkpoint(statement["checkpoint"], public_key)
    check_growth(model["ledger"]["end"], statement["checkpoint"], statement["consistency"])
    exposure = {each["snapshot_root"]: each for each in model["exposure"]}
    sets = statement["sets"]
    require(isinstance(sets, list) and bool(sets), "the statement names no set")
    proofs = {}
    for each in sets:
        require(
            isinstance(each, dict) and each.get("snapshot_root") in exposure, "a set is not in the model's exposure"
        )
        require(each["snapshot_root"] not in proofs, "a set is named twice")
        proofs[each["snapshot_root"]] = {name: value for name, value in each.items() if name != "snapshot_root"}
    check = _check_absent if statement["schema"] == EXCLUSION else _check_present
    return [*check(clip_id, proofs, exposure), _when(statement), *shown]


def _beyond(base: Mapping[str, str]) -> str:
    """What no statement of this platform can show."""
    return (
        f"The model was tuned from the pretrained base {base['name']} (SHA-256 {base['sha256']}, licence "
        f"{base['licence']}), {base['training_data']}: the sets here are what this platform added, and nothing is shown of "
        "what the base was trained on."
    )


def _check_absent(clip_id: str, proofs: Mapping[str, Body], exposure: Mapping[str, Body]) -> list[str]:
    if missing := sorted(set(exposure) - set(proofs)):
        raise ProofError(f"set {missing[0]}, which the model saw, is missing")
    for root, proof in proofs.items():
        check_exclusion(proof, clip_id, exposure[root]["ids_root"], exposure[root]["n"])
    sound = all(proof["complete"] for proof in proofs.values())
    order = (
        "Every set is listed whole and in order, so nothing is left to trust in its order."
        if sound
        else "The sets are too large to be listed; that their trees are sorted is not shown by this file."
    )
    return [f"Clip {clip_id} is in none of the {len(exposure)} sets that the model ever saw.", order]


def _check_present(clip_id: str, proofs: Mapping[str, Body], exposure: Mapping[str, Body]) -> list[str]:
    for root, proof in proofs.items():
        check_inclusion(proof, clip_id, exposure[root]["ids_root"], exposure[root]["n"])
    return [f"Clip {clip_id} is in {_sets([exposure[root] for root in proofs])}, which the model saw."]


def _sets(sets: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(f"snapshot {each['snapshot_root']} ({each['n']} clips)" for each in sets)


def _when(statement: Mapping[str, Any]) -> str:
    size, at = statement["checkpoint"]["size"], statement["checkpoint"]["recorded_at"]
    return f"The statement was made when the ledger had {size} events, the last of {at}."
