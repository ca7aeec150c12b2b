"""Diversity: which class every clip is of, how uneven the classes are, and how often each clip should be seen."""
