"""Stage 4, consent: the ledger of what people agreed to, what reviewers saw and which clips may be used.

The rules are in `training.consent`; here they meet the lake and the people.

- Taking in: `platform` (the platform's keys, enrolment), `submissions` (events of deliveries into the ledger), `notices`
- Judging: `reviews`, `reviewers`, `review_counting` (which approvals count), `reviewer_agreement`, `review_queue`,
  `review_reasons`, `rejections`, `disputes`, `contact_sheet` (what a reviewer looks at)
- Deciding: `clip_facts` (what is known of a clip), `eligibility` (the stored decisions), `forecast` (how many, over time)
- Looking back: `sealed_members` (which snapshots and models hold a clip), `reach` (what an event reaches), `standing`
  (whether a sealed snapshot still rests on consent), `withdrawal_log` (what was planned and done about withdrawals)
"""
