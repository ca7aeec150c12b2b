"""The consent ledger, as the rest of the platform sees it: `Ledger`, and what it answers to those who append.

Behind `ledger`: `intake` (how an envelope enters), `entry` (what is kept of it), `tree` (the Merkle tree in tiles),
`reading` (few events found by index), `refusals`, `erasure`, `tables`; and for those who trust nothing, `evidence` (a
few events proven by their leaves) and `audit` (everything re-read with suspicion).
"""

from training.consent.ledger.intake import Admitted
from training.consent.ledger.ledger import Ledger, LedgerBroken, LedgerMissing
from training.consent.ledger.refusals import Refused

__all__ = ["Admitted", "Ledger", "LedgerBroken", "LedgerMissing", "Refused"]
