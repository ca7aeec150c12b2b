"""Stage 7, the model: the video autoencoder and the video transformer, trained in subprocesses under consent.

`presets` has a budget for each size, `config` says what a run will be and under which key, `warm` what it starts from.
`launch` prepares its process, `outcome` reads what it left, `published` keeps models and their scorecards, `latents` the
encoded clips. `launcher` says where processes are: `on_ray` and `on_kubernetes` ask a cluster for nodes, `node` is what one
does, and `mirror` is what it shares with this machine through the store.
"""
