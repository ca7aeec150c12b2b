"""Stage 2, ingestion: from delivery folders to rows about what was declared and what the files really are.

- Arriving: `inbox` (folders by day), `manifests` and its schema, `deliveries` and `delivery_items` (rows, before any video is
  opened), `progress` (what a day's intake has done, and that nothing is lost)
- Judging: `origin` (our own watermark), `intake` (files to their place)

Files are read in `assets.decode`; their signals are measured on the same frames.
"""
