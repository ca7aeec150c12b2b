"""Fixtures of the evaluation that the registry needs, too."""

from tests.assets.evaluation.conftest import empty_registry, registry, untrained, weights  # noqa: F401
