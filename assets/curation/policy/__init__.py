"""Decisions about clips: every check of the policy on every clip, from stored values alone.

`policy` is the only place of thresholds, `policy_overrides` what a home changes of it; `evidence` are rows as a decision takes
them, `verdicts` the decisions, `replay` the same again by another policy. Whether a declared place and time can be true is
decided in `gazetteer`, `geolocation`, `location` and `daylight`, and whether a camera made the clip in `origin`.
"""
