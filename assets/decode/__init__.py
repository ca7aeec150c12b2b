"""Decoding of hostile files, on one machine or on many, in bounded child processes.

- Processes: `process` (the parent's side of one), `worker` (the process itself), `executor` (many files, with retries), `ray`
  (the same on other machines), `work` (their interfaces)
- Reading: `probe_pool` gives files to child processes (`probe`; `limits` bounds them), which open them and read
  every frame once (`decoder`: `timeline`, `identity`, `evidence`) and look at the container (`containers`, `matroska`)
- `judgement`: what a decode says about a file
"""
