"""The platform's side of the ledger: its keys, what people were shown before they signed, and what they sent.

The ledger itself and its rules are in `training.consent`.
"""
