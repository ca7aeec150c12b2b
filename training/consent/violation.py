"""The one way in which training is refused: reasons by clip, or for the whole of what is trained on."""

from __future__ import annotations

WHOLE = "*"  # key of reasons that concern the whole snapshot or the weights, not one clip


class ConsentViolation(Exception):
    """Training must not start or go on. `reasons` holds codes by clip; `"*"` stands for the whole snapshot."""

    def __init__(self, reasons: dict[str, tuple[str, ...]], detail: str = "") -> None:
        shown = "; ".join(f"{clip}: {', '.join(codes)}" for clip, codes in sorted(reasons.items())[:5])
        more = f" and {len(reasons) - 5} more" if len(reasons) > 5 else ""
        super().__init__(f"consent does not hold for {shown}{more}" + (f" ({detail})" if detail else ""))
        self.reasons = reasons

    @classmethod
    def of_all(cls, code: str, detail: str) -> ConsentViolation:
        """One code against everything."""
        return cls({WHOLE: (code,)}, detail)

    @property
    def names_clips(self) -> bool:
        """Whether clips lost their consent, rather than the manifest, the weights or the ledger being unfit to ask."""
        return set(self.reasons) != {WHOLE}
