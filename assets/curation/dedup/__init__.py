"""Copies of the same footage: found among very many clips, compared, and given to their owner.

`phash` is what is kept of a frame, `similarity` compares two clips. `candidate_pairs` finds which pairs are worth it: by
`lsh_codes` in a table (`lsh_index`), a cheap `prefilter` and, where very many clips meet, `large_buckets`. `groups` joins
pairs, `ownership` says whose they are, `incremental` reads the clips of earlier days from the lake.
"""
