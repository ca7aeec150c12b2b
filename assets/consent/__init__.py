"""Stage 4, consent: the ledger of what people agreed to, what reviewers saw and which clips may be used.

The rules of use are in `training.consent`; here events enter the ledger, and the rules meet the lake and the people.

- The ledger: `ledger` (append, erase, prove), `admission` (which events enter; `event_schema`: their shape), `intake`,
  `erasure`, `audit`, `ledger_tables` (what the database itself refuses); `proofs` (files that strangers check)
- Taking in: `platform` (the platform's keys, enrolment), `submissions` (events of deliveries into the ledger), `notices`
- Judging: `reviews`, `reviewers`, `review_counting` (which approvals count), `reviewer_agreement`, `review_queue`,
  `disputes`, `contact_sheet` (what a reviewer looks at)
- Deciding: `clip`, `clip_facts` (what is known of a clip), `eligibility` (the decisions, stored and explained), `forecast`
- Looking back: `sealed_members` (which snapshots hold a clip), `reach` (what an event reaches), `standing` (whether a sealed
  snapshot still rests on consent), `withdrawal_log` (what was planned and done about withdrawals)
"""
