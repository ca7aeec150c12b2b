"""The same footage again: found among very many clips, compared, and given to whom it belongs.

`phash` is what is kept of a frame, `likeness` compares two clips; `candidates` finds which are worth it, by `codes` in
a table (`lookup`), a `glance` and, where very many meet, `crowds`. `duplicates` makes groups, `ownership` says whose they
are, `corpus` reads them from the lake.
"""
