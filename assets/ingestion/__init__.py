"""Stage 2, ingestion: from delivery folders to rows about what was declared and what the files really are.

- Arriving: `inbox` (folders by day), `manifests` and its schema, `deliveries` and `delivery_items` (rows, before any video is
  opened), `recount` (nothing lost), `reasons` (every code, and what it means for whoever delivered)
- Decoding: `probe` gives files to child processes (`probe_worker`; `verdict` travels between), which open them
  (`decoding`), read all of them once (`decode_pass`: `timeline`, `identity`, `evidence`), and look at the container from
  outside (`containers`, `matroska`). Curation measures the same frames as they come: `decode_pass.Watcher`, `probe.Beside`
- Judging: `judgement` (what a decode says), `origin` (our own watermark), `intake` (files to their place), `gallery`
"""
