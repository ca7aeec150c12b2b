"""Great Expectations suites: what must hold of rows, kept apart from the code that writes them.

`suites` lists the expectations of each table, `validate` runs them over a frame. Nothing here imports the platform.
"""
