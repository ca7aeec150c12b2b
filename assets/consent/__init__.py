"""Stage 4, consent: the ledger of what people agreed to, what reviewers saw, which clips may be used, what a withdrawal does.

The rules are `training.consent`'s; here they meet the lake, the people and the models.

- `ledger`: taking in. `opening` (the platform's keys, enrolment), `submissions` (deliveries' events into the ledger),
  `notices`
- `reviews`: judging. `records`, `reviewers`, `counting` (which approvals count), `agreement`, `waiting` (the queue),
  `reasons`, `rejections`, `disputes`, `sheet` and `sheet_page` (what a reviewer looks at)
- `eligibility`: deciding. `facts` (what is known of a clip), `decisions`, `outlook` (how many, over time)
- `withdrawals`: `taint` (the entry), `reach` and `closure` (what is reached, by `graph`), `journal` and `desk` (what is
  done there, killed anywhere), `artifacts`, `models`, `replacement`, `completion`, `standing` (does a snapshot still hold)
- `statements`: answering. `receipts`, `proving`
"""
