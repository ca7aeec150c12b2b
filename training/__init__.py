"""The model: a video autoencoder, a diffusion transformer on its latents, and the commands that train and use them.

Runs on a bare node with torch, Lightning and small pure libraries; knows nothing of the platform around it.

    fit, encode, sample, evaluate, make_base    the commands: `python -m training.fit --config run.json`
    config                                      what they take
    model       codec, transformer, objective   data       clips, packing, the steps of a run
    trainer     one run on Lightning            sampling   from noise to videos
    evaluate    the scorecard                   simulate   scenes of known truth
    consent     what a training process needs to refuse
"""

import os

# Threads that wait for each other sleep instead of spinning: nothing is lost on idle cores, and on shared ones a step
# costs a tenth. OpenMP reads this once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
