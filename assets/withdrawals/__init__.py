"""Withdrawals, behind every stage: from a new event in the ledger to everything that was made of a clip.

- `plan`: the one entry; plans what is new in the ledger, then has it carried out
- `execute`: takes the planned steps; a killed run goes on where it stopped
- `lineage`: the models that a withdrawal reaches, and what is written on their versions
- `artifacts`: files and rows that go, and how they come back
- `receipt`: the signed account of a withdrawal; `answers`: receipts of consents, and whether a model saw a clip
"""
