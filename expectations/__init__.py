"""Great Expectations suites, a module a table: what must hold of rows, said apart from the code that writes them.

`validate` runs a suite over a frame, `report` makes its HTML stand alone. Nothing here imports the platform.
"""
