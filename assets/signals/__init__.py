"""Signals: what is measured on a file in one pass over its frames, in a child process, remembered by content.

- The pass: `frames` (small pictures of what is decoded), `single_pass` (which frame is measured when, and the row of each
  shot), and what it feeds: `shots` and `dissolves`, `motion`, `image_quality`, `detectors`, `phash`, `sound`
- Where it runs: in a child process (`worker`), on the frames that a probe decodes for its verdict, or later and by itself
- `files` says what is asked of it, keeps the results, and makes the rows of tables `shots` and `signals`
"""
