"""Clips in words: captions from facts, each clause with its source, and what a model that looks adds.

`wording` makes declared words fit, `phrasing` says a thing in several ways, `captions` puts clauses together;
`captioner` and `visual` are for a vision-language model, `embeddings` and `search` find clips by what is told of them.
"""
