"""What Dagster sees of the warehouse: every dbt model as an asset, every dbt test as a check, columns with lineage."""

# no postponed annotations here: dagster-dbt reads the parameters' types
import json
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster_dbt import (
    DagsterDbtTranslator,
    DagsterDbtTranslatorSettings,
    DbtCliInvocation,
    DbtCliResource,
    DbtProject,
    dbt_assets,
)
from dagster_dbt.core.dbt_event_iterator import DbtEventIterator

from assets.home import Home
from assets.warehouse.project import (
    applied,
    begin_build,
    close_connections,
    dbt_project,
    described,
    descriptions,
    environment,
    finish_build,
)

# a lake table -> the asset that writes it, where the two have different names
WRITERS = {
    "requests": "footage_requests",
    "delivery_items": "deliveries",
    "consent_submissions": "deliveries",
    "consent_events": "consent_ledger",
    "consent_refusals": "consent_ledger",
}

project = dbt_project()
manifest = described(json.loads(project.manifest_path.read_text()))


class LakeTranslator(DagsterDbtTranslator):
    """Gives dbt's sources the keys of the Python assets that write them, and its models the stage's group and owner."""

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        spec = super().get_asset_spec(manifest, unique_id, project)
        node = manifest["sources"].get(unique_id) or manifest["nodes"][unique_id]
        if node["resource_type"] == "source":
            return spec.replace_attributes(key=dg.AssetKey(WRITERS.get(node["name"], node["name"])))
        return spec.replace_attributes(key=dg.AssetKey(node["name"]), group_name="warehouse", owners=["team:data"])


translator = LakeTranslator(
    # deliveries and delivery_items are two sources and one asset
    DagsterDbtTranslatorSettings(enable_asset_checks=True, enable_duplicate_source_asset_keys=True)
)


@dbt_assets(
    manifest=manifest,
    project=project,
    name="warehouse",
    dagster_dbt_translator=translator,
    pool="warehouse",  # one build at a time
)
def warehouse(context: dg.AssetExecutionContext, dbt: DbtCliResource, home: dg.ResourceParam[Home]) -> Iterator[Any]:
    """Build and test the marts over the lake as it stands now, beside those that people may be reading.

    Where a model or a test fails, the warehouse stays as it was; what was built is in the folder `building` until the
    next build.
    """
    target = begin_build(home)
    with applied(environment(home, target)):
        # one target folder a home: what dbt parsed stays valid while the home does
        invocation = dbt.cli(["build"], context=context, target_path=home.scratch("dbt"))
        events, failure = _wait(invocation)
        try:
            reported = list(DbtEventIterator(iter(events), invocation).fetch_row_counts().fetch_column_metadata())
        finally:
            close_connections(invocation.adapter)
    if failure:
        yield from (event for event in reported if isinstance(event, dg.AssetCheckResult | dg.AssetCheckEvaluation))
        raise failure
    finish_build(home, target)
    columns = descriptions(manifest)
    yield from (_with_descriptions(event, columns) for event in reported)


def _with_descriptions(event: Any, columns: Mapping[str, Mapping[str, str]]) -> Any:
    """The event with its columns described: dbt's adapter knows only their names and types."""
    schema = event.metadata.get("dagster/column_schema")
    if schema is None:
        return event
    text = columns[event.metadata["unique_id"].text]
    schema = dg.TableSchema([dg.TableColumn(c.name, c.type, text.get(c.name)) for c in schema.value.columns])
    return event.with_metadata({**event.metadata, "dagster/column_schema": dg.MetadataValue.table_schema(schema)})


def _wait(invocation: DbtCliInvocation) -> tuple[list[Any], Exception | None]:
    """Everything dbt reported, and its failure, if any. The fetching would otherwise wait for dbt in a busy loop."""
    events: list[Any] = []
    try:
        for event in invocation.stream():
            events.append(event)
    except Exception as error:  # raised again once the events before it are reported
        return events, error
    return events, None
