"""What is decided about a clip: every check of the policy on every clip, from stored values alone.

`policy` is the only place of thresholds, `tuning` what a home changes of it; `evidence` are rows as a decision takes them,
`verdicts` the decisions, `replay` the same again by another policy. Whether what is declared can be true is in `places`,
`positions`, `whereabouts`, `daylight` and `origin`.
"""
