"""One question to both: what Python's `eligible` and the SQL models answer about the same histories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import duckdb

from tests.dbt.history_lake import lake_of, renamed
from tests.dbt.plain import Edit, PlainModels
from tests.training.consent.histories import History
from training.consent.eligibility import eligible

Key = tuple[str, int, str]  # history, shot, purpose


@dataclass(frozen=True)
class Answer:
    covered: bool
    reasons: tuple[str, ...]
    consent_ids: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """Some purposes, over a window, in a territory and by a recipient."""

    at: datetime
    until: datetime
    territory: str = "*"
    recipient: str = "*"
    purposes: tuple[str, ...] = ("train",)


MINOR_SCOPES = {"train": "train_minor", "finetune_client": "train_minor", "synthetic_derivation": "train_minor"}


def python_answers(histories: Iterable[History], question: Question) -> dict[Key, Answer]:
    answers = {}
    for history in histories:
        for clip in history.clips:
            for purpose in question.purposes:
                there = (question.territory, question.recipient)
                decision = eligible(clip, purpose, question.at, question.until, history.state, *there)
                consent_ids = tuple(sorted(renamed(history.name, consent_id) for consent_id in decision.consent_ids))
                answer = Answer(decision.eligible, decision.reasons, consent_ids)
                answers[history.name, clip.shot_index, purpose] = answer
    return answers


def sql_answers(connection: duckdb.DuckDBPyConnection) -> dict[Key, Answer]:
    """What `int_consent_decisions` says of the histories in the lake."""
    rows = connection.execute(
        "select item_id, shot_index, purpose, is_covered, reasons, consent_ids from int_consent_decisions"
    ).fetchall()
    return {
        (item.rpartition("/")[0], shot, purpose): Answer(covered, tuple(reasons), tuple(consent_ids))
        for item, shot, purpose, covered, reasons, consent_ids in rows
    }


def ask(connection: duckdb.DuckDBPyConnection, question: Question) -> dict[Key, Answer]:
    """The models' answers to another question than the one they were built for."""
    connection.execute(
        "create or replace table question as select ?::timestamp as decision_at, ?::timestamp as decision_until",
        [question.at.replace(tzinfo=None), question.until.replace(tzinfo=None)],
    )
    connection.execute("create or replace view int_decision_window as select * from question")
    connection.execute("create or replace table uses (purpose text, minor_scope text, territory text, recipient text)")
    connection.executemany(
        "insert into uses values (?, ?, ?, ?)",
        [(one, MINOR_SCOPES.get(one), question.territory, question.recipient) for one in question.purposes],
    )
    connection.execute("create or replace view int_uses as select * from uses")
    return sql_answers(connection)


def models_of(histories: Iterable[History], bent: Edit | None = None) -> duckdb.DuckDBPyConnection:
    """The models over a lake of these histories; `bent` changes one of them."""
    models = PlainModels(lake_of(histories), bent=bent)
    models.make("int_consent_decisions")
    return models.connection


def differences(
    histories: Iterable[History], question: Question, bent: Edit | None = None
) -> dict[Key, tuple[Answer | None, Answer | None]]:
    """Where (Python's answer, SQL's answer) are not the same."""
    histories = list(histories)
    return unequal(python_answers(histories, question), ask(models_of(histories, bent), question))


def unequal(python: Mapping[Key, Answer], sql: Mapping[Key, Answer]) -> dict[Key, tuple[Answer | None, Answer | None]]:
    found = {key: (python.get(key), sql.get(key)) for key in python.keys() | sql.keys()}
    return {key: (ours, theirs) for key, (ours, theirs) in found.items() if ours != theirs}


def explained(history: History, question: Question, bent: Edit | None = None) -> str:
    """The shortest part of a history about which both still differ, and how, for people."""
    while shorter := _shorter(history, question, bent):
        history = shorter
    lines = [f"{question}", str(history)]
    for key, (python, sql) in sorted(differences([history], question, bent).items()):
        lines += [f"  {key[1:]}", f"    Python: {python}", f"    SQL:    {sql}"]
    return "\n".join(lines)


def _shorter(history: History, question: Question, bent: Edit | None) -> History | None:
    """The history without one of its clips or submissions, if both still differ about the rest."""
    said, clips = history.submissions, history.clips
    rests = [((clip,), said) for clip in clips if len(clips) > 1]
    rests += [(clips, said[:place] + said[place + 1 :]) for place in range(len(said))]
    parts = {f"part {number}": History(f"part {number}", *rest) for number, rest in enumerate(rests)}
    found = differences(parts.values(), question, bent) if parts else {}
    return parts[min(found)[0]] if found else None
