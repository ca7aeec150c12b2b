"""What people look at: HTML, plots, stills and the metadata that Dagster shows."""
