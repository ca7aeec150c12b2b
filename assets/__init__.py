"""What the graph is made of: a folder a stage, in the order of the README's table; beside them what all stages share.

In a stage, `assets.py` (and `checks.py`) is what Dagster sees; everything else is plain Python that a test can call. Shared
are the `home` with its `store` and `lake`, the lake's `tables`, the bounded `workers`, pictures and pages for people
(`pictures`, `markup`, `metadata`), and signed provenance (`certificates`, `provenance`, `provenance_signing`). Nothing here
knows when or where it runs: that is `orchestration`'s.
"""
