"""The consent rules in Python and in SQL give one answer: yes or no, the same codes, the same consents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import duckdb
import pytest

from assets.lake import Lake, parquet_bytes, to_table
from assets.store import LocalStore
from tests.dbt.agreement import Question, ask, differences, explained, models_of, python_answers, sql_answers, unequal
from tests.dbt.history_lake import lake_of, renamed
from tests.dbt.plain import PlainModels
from tests.dbt.running import dbt
from tests.training.consent.histories import AT, DAY, START, UNTIL, History, every_order
from tests.training.consent.stories import story
from training.consent.eligibility import eligible

MANY = ("train", "eval", "finetune_client", "synthetic_derivation")
QUESTIONS = (
    Question(AT, UNTIL, purposes=MANY),
    Question(AT, UNTIL, "BE", "org-1", purposes=MANY),
    Question(AT, AT),
    Question(AT + DAY, AT + 2 * DAY),
    Question(START + DAY, AT),
    Question(UNTIL, UNTIL),
)


def _assert_agreed(histories: list[History], question: Question, found: dict) -> None:
    if found:
        name = min(found)[0]
        history = next(history for history in histories if history.name == name)
        pytest.fail(f"{len(found)} answers differ, for instance\n{explained(history, question)}")


@pytest.mark.parametrize("question", QUESTIONS[:2])
def test_both_agree_on_some_hundred_random_histories(question: Question) -> None:
    histories = [story(number) for number in range(300)]
    _assert_agreed(histories, question, differences(histories, question))


def test_both_agree_on_every_order_of_two() -> None:
    histories = list(every_order(2))
    _assert_agreed(histories, QUESTIONS[0], differences(histories, QUESTIONS[0]))


def test_the_mart_says_yes_where_the_whole_python_rule_does() -> None:
    """Given a row that claims a yes for every clip: the other witnesses together are as strict as the rule."""
    random = Random(7)
    histories = [_judged_otherwise(story(number), random) for number in range(1000)]
    lake = lake_of(histories)
    yes = {"purpose": "train", "eligible": True, "reasons": [], "consent_ids": [], "decision_digest": "-"}
    lake["eligibility"] = to_table(
        "eligibility",
        [{**key, **yes} for key in lake["shots"].select(["clip_id", "item_id", "shot_index"]).to_pylist()],
    )
    models = PlainModels(lake)
    mart = models.make("mart_training_eligibility")
    ask(models.connection, Question(AT, AT))
    found = models.connection.table(mart).to_arrow_table().to_pylist()
    sql = {row["clip_id"]: row["eligible"] for row in found}
    python = {
        renamed(history.name, clip.clip_id): eligible(clip, "train", AT, AT, history.state).eligible
        for history in histories
        for clip in history.clips
    }
    assert sql == python
    assert sum(python.values()) > 100


def _judged_otherwise(history: History, random: Random) -> History:
    """The same, where reviewers, checks or the duplicate resolution may say no."""
    changes = (
        {},
        {},
        {"approvals": 1},
        {"approvals": 3},
        {"rejections": 1},
        {"duplicate_ok": False},
        {"verdicts_ok": False},
    )
    return replace(history, clips=tuple(replace(clip, **random.choice(changes)) for clip in history.clips))


# one rule taken out of the SQL, or bent: (model, what it says, what it would say)
WRONG = (
    ("int_consent_answers", "extent.party_id = revoked.party_id and ", ""),
    ("int_consent_answers", "least(events.effective_at, events.recorded_at)", "events.effective_at"),
    ("int_consent_answers", "is_in_force and not has_recipient", "false"),
    ("int_consent_terms", "greatest(events.effective_at, events.recorded_at,", "greatest(events.effective_at,"),
    ("int_consent_terms", "interval 300 seconds", "interval 299 seconds"),
    ("int_consent_terms", "ends_at <= decision_until", "ends_at < decision_until"),
    ("int_consent_terms", "order by in_force_from\n                range", "order by seq\n                range"),
    ("int_clip_parties", "persons.is_minor or minors.minor_id is not null", "persons.is_minor"),
    ("int_clip_parties", "where is_identifiable", ""),
    ("int_guardians", "having max_by(event_type, seq) = 'guardian'", ""),
    ("int_clip_holds", "decided.outcome is distinct from 'dismissed'", "decided.outcome is null"),
    ("int_party_answers", "speaking.terms_naming < answers.terms_in_force", "speaking.terms_naming = 0"),
    ("int_consent_decisions", "> agreed.persons_released +", "> 1 + agreed.persons_released +"),
)


def test_a_difference_is_shown_by_the_shortest_history_that_has_it() -> None:
    question, bent = Question(AT, UNTIL), WRONG[0]
    names = (
        "grant",
        "dispute",
        "stranger-revokes",
        "dismiss",
    )  # the stranger comes after, which is refused; and before
    orders = {history.name: history for history in every_order(4)}
    assert differences([orders[" ".join(names)]], question, bent) == {}
    told = explained(orders["stranger-revokes dispute grant dismiss"], question, bent)
    assert [line.split(": ")[1].split(" ")[0] for line in told.splitlines() if line.startswith("  #")] == [
        "revoke",
        "grant",
    ]
    assert "consent.revoked" in told


@pytest.mark.slow
def test_any_rule_bent_in_sql_is_noticed() -> None:
    histories = [story(number) for number in range(2000)]
    question = Question(AT, UNTIL, "BE", "org-1", purposes=("train", "eval"))
    python = python_answers(histories, question)
    assert unequal(python, ask(models_of(histories), question)) == {}
    unnoticed = [wrong for wrong in WRONG if not unequal(python, ask(models_of(histories, bent=wrong), question))]
    assert unnoticed == []


@pytest.mark.slow
def test_both_agree_on_thousands_of_histories_and_every_order_of_four(tmp_path: Path) -> None:
    """dbt builds the models over one lake that holds all histories; other questions are then asked of the same models."""
    histories = [*map(story, range(10_000)), *every_order()]
    assert len(histories) > 20_000
    built = _built_by_dbt(tmp_path, histories)
    usual = Question(AT, UNTIL)
    _assert_agreed(histories, usual, unequal(python_answers(histories, usual), sql_answers(built)))
    _decide_anew_when_asked(built, tmp_path)
    for question in QUESTIONS:
        sql = ask(built, question)
        _assert_agreed(histories, question, unequal(python_answers(histories, question), sql))
        if question.at >= AT:  # before that many had not consented yet
            assert 0.1 < sum(answer.covered for answer in sql.values()) / len(sql) < 0.9


def _built_by_dbt(root: Path, histories: list[History]) -> duckdb.DuckDBPyConnection:
    Lake(LocalStore(root)).mirror(root / "mirror")
    for name, table in lake_of(histories).items():
        (root / "lake" / name / "part.parquet").write_bytes(parquet_bytes(table))
    done = dbt("run", root, "--select", "+int_consent_decisions")
    assert done.returncode == 0, done.stdout[-4000:]
    return duckdb.connect(str(root / "warehouse.duckdb"))


def _decide_anew_when_asked(connection: duckdb.DuckDBPyConnection, root: Path) -> None:
    """The table of decisions as a view, of the same SQL that dbt made the table from."""
    (compiled,) = (root / "target" / "compiled").rglob("int_consent_decisions.sql")
    connection.execute("drop table int_consent_decisions")
    connection.execute(f"create view int_consent_decisions as {compiled.read_text()}")
