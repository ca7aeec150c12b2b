"""Scenes of known truth: what is in them, how it moves and what the camera does are facts, not labels.

`Scene` says what happens in units that do not depend on the picture (frame diagonals, seconds); `render` draws it at
any size, length and aspect ratio. A model that is asked for such a scene can then be measured instead of judged.
Belongs here: worlds and their facts. Does not: measuring a model against them (that is evaluation).
"""

from training.simulate.render import render
from training.simulate.scene import Scene, random_scene

__all__ = ["Scene", "random_scene", "render"]
