"""Captions: from facts, each clause with its source, and from a vision-language model where a home has one.

`text_cleaning` prepares declared words, `templates` phrase a fact in several ways, `structured` puts the clauses together;
`vlm_captioner` and `vlm` are for the model, `embeddings` and `search` find clips by their captions.
"""
