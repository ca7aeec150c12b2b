"""Captions: from facts, each clause with its source, and from a vision-language model where a home has one.

`structured` chooses the clauses, `phrasing` gives them their form; `vlm` runs the model, `embeddings` encodes captions and
finds clips by them.
"""
