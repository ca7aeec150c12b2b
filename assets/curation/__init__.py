"""Stage 3, curation: clips (shots of accepted files), what is measured on them, and what is decided about them.

- `measuring`: one pass over a file's frames gives shots and signals
- `copies`: the same footage again, and whose it is
- `telling`: captions, what a captioner sees, embeddings, search
- `deciding`: the policy and its verdicts, and deciding again by another policy
- `showing`: one clip explained, a day's pages
- `assets` is what Dagster sees, `checks` what it checks there

No module here decides on consent, and `deciding.policy` is the only place of thresholds.
"""
