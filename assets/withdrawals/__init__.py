"""Withdrawals, behind every stage: from a new event in the ledger to everything that was made of a clip.

- `plan`: the one entry; plans what is new in the ledger, then has it carried out
- `lineage`, `model_taint`: which snapshots and models a withdrawal reaches
- `execute`: takes the planned steps; a killed run goes on where it stopped
- `artifacts`, `replacement`: files and rows that go, and footage asked for in their place
- `receipt`, `consent_receipts`, `exclusion_proofs`: signed answers to the people
"""
