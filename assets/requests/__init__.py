"""Stage 1, requests: what people ask for, in a line of English (`parse`, `terms`) or a YAML document (`document`).

`spec` is the typed record, `store` keeps requests and the platform's own proposals. What is short is known only behind the
warehouse (`assets.coverage`).
"""
