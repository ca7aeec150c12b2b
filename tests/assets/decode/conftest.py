"""Fixtures of the ingestion that decoding needs, too."""

from tests.assets.ingestion.conftest import drop, measuring, measuring_pool, pool, video  # noqa: F401
