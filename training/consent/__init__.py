"""Consent as pure rules: signed events, the ledger that orders them, and the one function that decides eligibility.

Everything here is used by the platform and by the training process alike, so it depends on SQLAlchemy, cryptography and
rfc8785 alone. Read in this order: `events`, `admission`, `ledger`, `state`, `eligibility`, `snapshot`, `guard`.
"""
