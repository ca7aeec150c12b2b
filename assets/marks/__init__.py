"""Marks of origin on video files: `c2pa` (signed provenance), `watermark`, and `marking`, which puts on and reads both."""
