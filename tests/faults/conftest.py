"""People with keys and a ledger, against whom things go wrong."""

from tests.invariants.conftest import people

__all__ = ["people"]
