"""When and where the graph runs, and how people command it.

- The code location: `definitions`, `jobs`, `schedules`, `sensors` (with `watch`), `alerts`, `run_launcher`
- `settings` reads the environment and opens the home that it names
- The command line: `cli` and the groups in `commands`; `status` and `trace` are what it shows
- Running it: `services` (the UIs and the daemon), `session` and `launch` (jobs followed to their end), `demo`

Nothing here knows what a clip is worth: that is in `assets`.
"""
