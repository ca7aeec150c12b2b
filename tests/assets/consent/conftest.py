"""A ledger in a temporary database, and people with keys in it."""

from tests.training.consent.conftest import people as people
from tests.training.consent.conftest import url as url
