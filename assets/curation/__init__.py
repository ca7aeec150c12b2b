"""Stage 3, curation: clips (shots of accepted files), what is measured on them, and what is decided about them.

- `dedup`: copies of the same footage, and whose they are
- `captioning`: captions, what a captioner sees, embeddings, search
- `policy`: thresholds, verdicts, and deciding again by another policy
- `explain` shows one clip, `day_report` a day; nothing is decoded or decided there
- `assets` is what Dagster sees, `checks` what it checks there

What is measured is in `assets.signals`. No module here decides on consent, and `policy.policy` is the only place of
thresholds.
"""
