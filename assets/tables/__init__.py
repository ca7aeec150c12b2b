"""The lake's tables: every column that Python assets write, with its type, unit and meaning; a module a stage.

What belongs here: schemas only, so that the lake can refuse a row that does not fit, Dagster can show the columns
and dbt can rely on them. What does not: marts (the dbt project declares those) and database rows (the ledger's).

Times are RFC 3339 strings in UTC (`2026-11-02T08:00:00Z`); units are in the names; lists of reasons are complete.
A new column goes into its stage's module.
"""

from assets.tables import consent, curation, delivery, model
from assets.tables.columns import Bool, Column, Int, Real, Table, Text, Texts, Vector

__all__ = ["TABLES", "Bool", "Column", "Int", "Real", "Table", "Text", "Texts", "Vector"]

_STAGES = (delivery, curation, consent, model)
TABLES: dict[str, Table] = {table.name: table for stage in _STAGES for table in stage.TABLES}
