"""What is measured on a file: one pass over its frames, in a child process, remembered by content.

- The pass: `frames` (small pictures of what is decoded), `signals` (which frame is measured when), and what these gather:
  `shots` and `dissolves`, `motion`, `picture_scores`, `spectrum`, `lettering`, `faces`, `sound`, `plugins`
- Where it runs: beside the file's probe, on the frames that are decoded for its verdict (`beside_probe`), or later and by
  itself (`worker`); `work` says what is asked of either and what is kept
- A clip's row is made in `summary` and `quality`, and kept by `clips`; `curves` and `remembered` are for people
"""
