"""Copies of the same footage: found among very many clips, compared, and given to their owner.

`similarity` compares two clips by the hashes of their frames (`assets.signals.phash`). `candidate_pairs` finds which pairs
are worth it: by `lsh_codes` in a hash table (`lsh_index`) and a cheap `prefilter`. `groups` joins pairs of all days,
`ownership` says whose they are.
"""
