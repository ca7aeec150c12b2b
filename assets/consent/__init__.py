"""Stage 4, consent: the ledger of what people agreed to, what reviewers saw and which clips may be used.

The rules of use are in `training.consent`; here events enter the ledger, and the rules meet the lake and the people.

- The ledger: `ledger` (append, erase, prove), `admission` (which events enter; `event_schema`: their shape), `intake`,
  `erasure`, `audit`, `ledger_tables` (what the database itself refuses); `proofs` (files that strangers check)
- The platform's side: `platform` (its keys, enrolment, events of deliveries), `notices`
- Reviewing: `reviews` (the register, reviews and appeals as kept), `review_counting` (which approvals count),
  `review_queue`, `reviewer_agreement`, `disputes` (and appeals), `contact_sheet` (what a reviewer looks at)
- Deciding: `clips` (what is known of a clip), `eligibility` (the decisions, stored, explained and forecast)
- Looking back: `sealed_members` (which snapshots hold a clip), `reach` (what an event reaches), `standing` (whether a sealed
  snapshot still rests on consent), `withdrawal_log` (what was planned and done about withdrawals)
"""
