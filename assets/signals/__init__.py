"""Signals: what is measured on a file in one pass over its frames, in a child process, remembered by content.

- The pass: `frames` (small pictures of what is decoded), `single_pass` (which frame is measured when), and what it feeds:
  `shots` and `dissolves`, `motion`, `image_quality`, `spectrum`, `text_detection`, `faces`, `sound`, `plugins`
- Where it runs: beside the file's probe, on the frames that are decoded for its verdict (`beside_probe`), or later and by
  itself (`worker`); `task` says what is asked of either and what is kept
- A clip's row is made in `summary` and `quality`, and kept by `rows`
"""
