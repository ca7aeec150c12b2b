"""Roots and proofs from kept subtrees are those of all the leaves, and read few rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.consent.intake import grow
from assets.database import create_tables, writing
from training.consent import merkle, tree
from training.consent.database import open_engine
from training.consent.tables import TILE, leaves, metadata, subtrees

LARGEST = TILE * TILE + TILE + 3
HASHES = [hashlib.sha256(number.to_bytes(4)).digest() for number in range(LARGEST)]


def _grow(engine: sa.Engine, upto: int, step: int) -> None:
    while (start := _size(engine)) < upto:
        end = min(start + step, upto)
        rows = [
            {"seq": n, "leaf_hash": HASHES[n].hex(), "recorded_at": "2026-11-02T08:00:00Z"} for n in range(start, end)
        ]
        with writing(engine) as connection:
            connection.execute(leaves.insert(), rows)
            grow(connection)


def _size(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return tree.size(connection)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    """More leaves than one subtree of the second level has."""
    engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('tree') / 'tree.db'}")
    create_tables(engine, metadata)
    _grow(engine, LARGEST, step=20_000)
    yield engine
    engine.dispose()


def _near_a_boundary(upto: int) -> st.SearchStrategy[int]:
    near = [b + d for b in (0, TILE, 2 * TILE, 3 * TILE, TILE * TILE, LARGEST) for d in range(-3, 4)]
    return st.sampled_from([size for size in near if 0 <= size <= upto]) | st.integers(0, upto)


@settings(max_examples=150, deadline=None)
@given(_near_a_boundary(LARGEST))
def test_every_prefix_has_the_root_of_its_leaves(grown: sa.Engine, size: int) -> None:
    with grown.connect() as connection:
        assert tree.root(connection, size) == merkle.root(HASHES[:size])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_proofs_are_those_of_all_the_leaves(grown: sa.Engine, data: st.DataObject) -> None:
    size = data.draw(_near_a_boundary(LARGEST).filter(bool))
    index, first = data.draw(_near_a_boundary(size - 1)), data.draw(_near_a_boundary(size).filter(bool))
    with grown.connect() as connection:
        assert tree.inclusion_proof(connection, index, size) == merkle.inclusion_proof(HASHES[:size], index)
        assert tree.consistency_proof(connection, first, size) == merkle.consistency_proof(HASHES[:size], first)


def test_all_proofs_around_the_first_boundaries_are_those_of_all_the_leaves(grown: sa.Engine) -> None:
    with grown.connect() as connection:
        for size in (1, 2, TILE - 1, TILE, TILE + 1, 2 * TILE, 2 * TILE + 1):
            for other in {1, 2, TILE - 1, TILE, TILE + 1, 2 * TILE - 1, size} & set(range(1, size + 1)):
                proof = tree.inclusion_proof(connection, other - 1, size)
                assert merkle.verify_inclusion(HASHES[other - 1], other - 1, size, proof, merkle.root(HASHES[:size]))
                assert proof == merkle.inclusion_proof(HASHES[:size], other - 1)
                assert tree.consistency_proof(connection, other, size) == merkle.consistency_proof(HASHES[:size], other)


def test_a_proof_reads_few_rows_however_long_the_ledger_is(grown: sa.Engine) -> None:
    """At most 128 hashes for each of the log n subtrees on the way."""
    read: list[int] = []
    real = tree.hashes

    def counting(connection: sa.Connection, level: int, first: int, last: int) -> list[bytes]:
        read.append(last - first)
        return real(connection, level, first, last)

    with pytest.MonkeyPatch.context() as patch, grown.connect() as connection:
        patch.setattr(tree, "hashes", counting)
        tree.root(connection, LARGEST - 1)
        tree.inclusion_proof(connection, LARGEST // 3, LARGEST - 1)
        assert max(read) <= TILE // 2
        assert len(read) <= 3 * LARGEST.bit_length()


def test_there_is_no_proof_for_what_is_not_there(grown: sa.Engine) -> None:
    with grown.connect() as connection:
        for index, size in ((-1, 5), (5, 5), (0, LARGEST + 1)):
            with pytest.raises(IndexError):
                tree.inclusion_proof(connection, index, size)
        for first, second in ((0, 5), (6, 5), (1, LARGEST + 1)):
            with pytest.raises(IndexError):
                tree.consistency_proof(connection, first, second)


@pytest.mark.parametrize("step", [1, 100, TILE, 3 * TILE + 7])
def test_subtrees_do_not_depend_on_how_the_ledger_grew(url: str, step: int) -> None:
    engine = open_engine(url)
    create_tables(engine, metadata)
    upto = TILE + 1 if step == 1 else 4 * TILE + 1
    _grow(engine, upto, step)
    with engine.connect() as connection:
        rows = connection.execute(sa.select(subtrees).order_by(subtrees.c.position)).all()
        assert [tuple(row) for row in rows] == [
            (1, n, merkle.root(HASHES[n * TILE : (n + 1) * TILE]).hex()) for n in range(upto // TILE)
        ]
    with engine.connect() as connection:
        for bad in ((1, upto // TILE + 1), (1, upto // TILE), (1, 0), (2, 0), (0, 0)):
            with pytest.raises(sa.exc.IntegrityError), connection.begin():
                connection.execute(subtrees.insert().values(level=bad[0], position=bad[1], hash="0" * 64))
            connection.rollback()
    engine.dispose()
