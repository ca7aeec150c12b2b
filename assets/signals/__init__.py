"""Signals: what is measured on a file in one pass over its frames, in a child process, remembered by content.

- The pass: `frames` (small pictures of what is decoded), `single_pass` (which frame is measured when), and what it feeds:
  `shots` and `dissolves`, `motion`, `image_quality`, `spectrum`, `text_detection`, `faces`, `phash`, `sound`, `plugins`
- `measure` makes one row of a shot of all that
- Where it runs: in a child process (`worker`), on the frames that a probe decodes for its verdict, or later and by itself;
  `task` says what is asked of it and keeps the results
- `rows` makes the rows of tables `shots` and `signals`
"""
