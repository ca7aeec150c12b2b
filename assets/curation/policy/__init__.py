"""Decisions about clips: every check of the policy on every clip, from stored values alone.

`policy` is the only place of thresholds, `policy_overrides` what a home changes of it. `verdicts` reads the stored rows and
decides; `replay` decides again by another policy. Whether a declared place and time can be true is decided in
`place_and_time` (by the `gazetteer`), and whether a camera made the clip in `origin`.
"""
