"""The sample world: real footage, simulated scenes, people with keys, and every way in which a delivery goes wrong.

`world.yaml` and `sources.yaml` are its data.

What belongs here: what the demonstration needs and a real site does not (fetching sample footage, inventing
contributors and reviewers, running everything once). Nothing outside this folder may depend on it.
"""
