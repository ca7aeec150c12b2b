"""Stage 7, the model: the video autoencoder and the video transformer, trained in subprocesses under consent.

`config` says what a run will be and under which key, `warm` and `parents` what it starts from, `launch` starts its process,
`outcome` reads what it left, `published` keeps models and `scorecards` their measurements; `latents` has the encoded clips.
"""
