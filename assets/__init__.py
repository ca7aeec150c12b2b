"""What the graph is made of: plain libraries below, a folder for each stage above them, in the order of the README's table.

The ground floor knows no stage: the `home` with its `store` and `lake`, the `tables` and `reasons` of the lake, `decode`
(bounded processes that read files), `signals` (what is measured on frames), `marks` (C2PA and watermark), `registry`
(MLflow), `serving` (prompts in, marked videos out) and `pages` (what people look at). In a stage, `assets.py` and
`checks.py` are what Dagster sees; the rest is plain Python that a test can call. Nothing here knows when or where it runs:
that is `orchestration`.
"""
