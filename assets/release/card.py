"""The model card: what a version is, what it learned from and with whose consent, how good it is, what it cannot do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assets.model.published import BASE
from assets.pages.plots import markdown_table

LIMITS = (
    "It knows only what its snapshot shows; the table of sources in the data summary is the whole of it.",
    "It makes short, small, silent videos. It does not know real people, brands or places by name.",
    "A metric that is *not measured* is not a good one.",
    "The watermark survives re-encoding at the same size, not scaling or cropping; the manifest is lost when a file is "
    "re-encoded. Neither mark is proof against someone who wants to remove it.",
)


@dataclass(frozen=True)
class Facts:
    """Everything that the card says; `record` is the published record of the pair."""

    version: str
    aliases: Sequence[str]
    tags: Mapping[str, str]
    record: Mapping[str, Any]
    summary: Mapping[str, Any]  # of the training data
    scores: Sequence[Mapping[str, str]]  # rows as people read them


def write(facts: Facts) -> str:
    """The card in Markdown."""
    tags, consent, general = facts.tags, facts.summary["consent"], facts.summary["general"]
    identity = {
        "registered version": f"video-transformer {facts.version} ({', '.join(facts.aliases) or 'no alias'})",
        "model key": f"`{tags.get('model_key')}`",
        "code version": f"`{tags.get('code_version', 'unknown')}`",
        "parent model": _descent(tags.get("parent_model"), facts.record.get("origin")),
        "promotion": tags.get("gate_reasons", "not decided"),
        "taint": tags.get("taint", "none"),
    }
    data = {
        "snapshot root": f"`{tags.get('snapshot_root')}`",
        "clips": f"{general['clips']} ({general['held_out_clips']} held out), {general['hours']} hours",
        "contributors": general["contributors"],
        "consents": f"{consent['standing_consents']}, valid until {consent['valid_until']}",
        "ledger checkpoint": f"`{tags.get('ledger_checkpoint')}`",
    }
    return "\n\n".join(
        [
            "# Model card: video-transformer",
            "A text-to-video model: a latent diffusion transformer over the latents of a causal video autoencoder, "
            "trained on footage with the standing consent of everyone in it.",
            "## Identity",
            _list(identity),
            "## Data and consent",
            _list(data),
            "Consent was checked when the snapshot was sealed, by the training process before its first step and at "
            "every checkpoint, when the version was registered and when it was promoted.",
            "## Training",
            _training(facts.record),
            "## Measured",
            markdown_table(facts.scores),
            "Intervals are 95 %; n is the number of samples.",
            "## Use",
            "`rushes generate PROMPT -o FILE`, or `predict` of the registered model. Every file leaves with a "
            "watermark and a signed manifest. Prompts are screened by a short list of words.",
            "## Limits",
            "\n".join(f"- {limit}" for limit in LIMITS),
        ]
    ) + "\n"  # fmt: skip


def _descent(parent: str | None, origin: str | None) -> str:
    """What the weights were before training, and at the root of their ancestry."""
    if parent is None:
        return "none: trained from random weights"
    if parent.startswith(BASE):
        return f"trained from base {parent}, which saw rendered scenes only"
    if origin and origin.startswith(BASE):
        return f"{parent}, which descends from base {origin}; the base saw rendered scenes only"
    return parent


def _training(record: Mapping[str, Any]) -> str:
    rows = []
    for task in ("codec", "transformer"):
        entry = record.get(task, {})
        result = entry.get("result", {})
        names = sorted(result.get("start", {}).keys() & result.get("end", {}).keys())
        changes = (f"{name} {result['start'][name]:.4g} → {result['end'][name]:.4g}" for name in names)
        rows.append(
            {
                "part": task,
                "parameters": entry.get("parameters", "unknown"),
                "steps": result.get("steps", "unknown"),
                "held out, start → end": ", ".join(changes) or "not measured",
            }
        )
    return markdown_table(rows)


def _list(pairs: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in pairs.items())
