"""Stage 4, consent: the ledger of what people agreed to, what reviewers saw, and which clips may be used."""
