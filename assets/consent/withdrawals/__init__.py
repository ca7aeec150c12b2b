"""What a withdrawal does: from a new event in the ledger to everything that was made of a clip, in this order.

- `taint`: the one entry; what is new in the ledger is planned, then carried out
- `reach`, `closure`: which clips, snapshots and models are reached; `graph` finds them, `models` reads their records
- `journal`: what was planned and every step that was taken; `desk` takes the steps, killed anywhere, begun again
- `artifacts`, `replacement`, `completion`: files and rows, footage in their place, the signed receipt
- `standing`: whether a sealed snapshot still rests on consent
"""
