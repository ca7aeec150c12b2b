"""Decoding of hostile files, on one machine or on many, in bounded child processes.

- Processes: `process` (a child from both sides, and its limits), `executor` (many files, here or on Ray, with retries)
- Reading: `probe_pool` gives files to child processes (`probe`), which open them and read every frame once (`decoder`:
  `timeline`, `identity`, `evidence`) and look at the container (`containers`)
- `judgement`: what a decode says about a file
"""
