"""When and where the graph runs, and how people command it.

- The code location: `definitions`, `jobs`, `schedules` (with `night`), `sensors`, `resources`, `alerts`
- Settings: `settings` reads the environment, `s3` opens a home there
- The command line: `cli`, `commands`; `reading`, `summary`, `trace` and `trace_withdrawals` are what it shows
- Running it: `services` (the UIs and the daemon), `session` and `launch` (jobs followed to their end), `demo`

Nothing here knows what a clip is worth: that is in `assets`.
"""
