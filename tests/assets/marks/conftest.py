"""Fixtures of the release that the marks need, too."""

from tests.assets.release.conftest import keys, raw  # noqa: F401
