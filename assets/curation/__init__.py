"""Stage 3, curation: clips (shots of accepted files), what is measured on them, and what is decided about them.

- One pass a file, in a child process: beside its probe, on the frames that are decoded for the verdict (`beside_probe`), or
  later and by itself (`worker`); `measuring` says what is kept of it: `frames`, `signals` and what they gather of `shots` and
  `dissolves`, `motion`, `picture_scores`, `spectrum`, `lettering`, `faces`, `sound`, `plugins`; a clip's row is made in
  `summary` and `quality`, kept by `clips`; `curves` and `remembered` are for people
- The same footage: `phash`, `candidates` (near, without comparing all), `likeness`, `corpus`, `ownership` (whose), `duplicates`
- Told: `wording` (declared words made fit), `phrasing`, `captions`; `captioner` and `visual` (a model that looks),
  `embeddings`, `search`
- Decided: `policy` and its local `tuning`, `evidence` (rows as a decision takes them), `verdicts`; whether declarations can be
  true is in `places`, `positions`, `whereabouts`, `daylight`, `origin`; `replay` decides again from stored values
- Shown: `explain`, `explain_page`, `naming`, `pages`, `stills`, `distributions`, `margins`, `drift`

No module here decides on consent, and `policy` is the only place of thresholds.
"""
