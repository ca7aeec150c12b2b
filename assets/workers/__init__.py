"""Work on hostile files, on one machine or on many: bounded child processes, and who gives them files.

Read `child` (the parent's side of one process), `serving` (the process itself), `executor` (many files, with retries)
and `on_ray` (the same on other machines). What is done with a file is not here: see `ingestion` and `curation`.
"""
