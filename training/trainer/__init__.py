"""One training run on Lightning: what a step learns, where a run starts, what it saves, and how fast it is.

`python -m training.fit` runs it. Lightning drives the loop, the devices and the strategies; what it does not promise is
here: checkpoints without pickle that a kill cannot half write, a resume to the last bit, and consent asked at each one.
"""
