"""The model: a video autoencoder, a diffusion transformer on its latents, and the commands that train and use them.

Runs on a bare node with torch, Lightning and small pure libraries; knows nothing of the platform around it. Read in this
order: `patches`, `codec`, `attention`, `gaussian`, `transformer`, `flow`, `conditioning`, `packing`, `data`, `module`,
`exposure`, `start`, `fit`, `sampling`, `given`, `sample`. Codecs beside the learned one are in `haar` and `pretrained`,
weights over several processes in `shards`; `flops` and `meter` say how fast a run is.
"""

import os

# Threads that wait for each other sleep instead of spinning: nothing is lost on idle cores, and on shared ones a step
# costs a tenth. OpenMP reads this once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
