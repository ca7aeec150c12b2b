"""Scenes of known truth: what is in them, how it moves and what the camera does are facts, not labels.

A scene says what happens in units that do not depend on the picture (frame diagonals, seconds); drawing it works at any
size, length and aspect ratio. A model that is asked for such a scene can then be measured instead of judged.

    scene, render   landscapes with moving shapes: what the demo's simulated deliveries show
    trial, stage    one thing put to the test each, before a grey world in which colour can be measured
    supply          trials as training clips, in memory; `python -m tests.benchmarks.truth` trains on them and is judged

Belongs here: worlds and their facts. Does not: measuring a model against them (that is evaluation).
"""

from training.simulate.render import render, render_trial
from training.simulate.scene import Scene, random_scene
from training.simulate.trial import Trial, random_trial

__all__ = ["Scene", "Trial", "random_scene", "random_trial", "render", "render_trial"]
