"""Captions: from facts, each clause with its source, and from a vision-language model where a home has one.

`text_cleaning` prepares declared words, `templates` phrase a fact in several ways, `structured` puts the clauses together;
`vlm` runs the model, `embeddings` encodes captions and finds clips by them.
"""
