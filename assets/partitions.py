"""The one partitioning of the graph: the UTC day on which a delivery was received."""

import dagster as dg

received_days = dg.DynamicPartitionsDefinition(name="received_day")
