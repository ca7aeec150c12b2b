"""Fixtures of the tests that need Dagster: the small world made by hand, over which sensors and schedules are asked."""

from tests.assets.conftest import small_world, world

__all__ = ["small_world", "world"]
