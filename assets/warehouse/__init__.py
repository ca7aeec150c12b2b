"""Stage 5: the warehouse. The dbt project in `dbt_project/` turns the lake into facts, dimensions and decisions."""
