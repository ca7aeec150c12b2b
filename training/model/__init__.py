"""The model: a video autoencoder, a diffusion transformer on its latents, and the objective that trains it.

Read in this order: `config`, `patches`, `codec`, `attention`, `gaussian`, `transformer`, `flow`, `conditioning`. Codecs
beside the learned one are in `haar` and `pretrained`; `exposure` is what a weights file says that it saw.
"""
