"""What a registered version says of itself on its page, from its tags alone: Markdown, for people."""

from __future__ import annotations

from collections.abc import Mapping

_ROWS = {
    "snapshot_root": "Training snapshot (Merkle root)",
    "ids_root": "Its clips (Merkle root of the sorted clip ids)",
    "ledger_checkpoint": "Sealed on ledger checkpoint (size:root)",
    "commitment_checkpoint": "Committed on ledger checkpoint (size:root)",
    "commitment_sha256": "Commitment (SHA-256 of `commitment.json`)",
    "exposure_size": "Snapshots that the weights ever saw",
    "parent_model": "Started from",
    "origin_model": "Descends from",
    "code_version": "Training code",
}


def version_description(tags: Mapping[str, str]) -> str:
    """Where the version comes from, whether it is tainted and why, and how anybody can check both."""
    lines = []
    if (taint := tags.get("taint", "none")) != "none":
        lines += [f"**Tainted:** {_plain(taint)}", ""]
        lines += [f"Withdrawal: `{_plain(tags['taint_withdrawal'])}`", ""] if tags.get("taint_withdrawal") else []
    lines += ["| what it rests on | |", "|---|---|"]
    lines += [f"| {label} | `{_plain(tags[name])}` |" for name, label in _ROWS.items() if tags.get(name)]
    if exposure := tags.get("exposure"):
        lines += ["", "Every snapshot that the weights ever saw:", ""]
        lines += [f"- `{_plain(root)}`" for root in exposure.split(",")]
    lines += [
        "",
        "`rushes prove --excluded CLIP --model VERSION` makes a proof that a clip is in none of these snapshots, and "
        "`rushes verify FILE --key KEY` checks it with the platform's public key alone.",
    ]
    return "\n".join(lines)


def _plain(value: str) -> str:
    """One line that leaves its table cell and its code span nowhere."""
    return " ".join(value.split()).replace("|", "\\|").replace("`", "'").replace("<", "&lt;")
