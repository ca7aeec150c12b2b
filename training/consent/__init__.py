"""What a training process needs of consent in order to refuse: events, what they mean, and a ledger that it can only read.

It depends on SQLAlchemy, cryptography and rfc8785 alone, and the platform uses the same modules. In one sitting, read them in
this order; each is a page or two and knows only those before it:

1. `events`         what is signed, and how: consent, identity, dispute
2. `state`          what events mean over time: the fold to consents, guardians and holds; the time rules
3. `eligibility`    may this clip be used, for this, over this window? Default is no
4. `snapshot`       a training set sealed on those answers
5. `guard`          the training process asks again, at every checkpoint, about all that its weights ever saw

Below them, what keeps it from being changed unnoticed: `canonical`, `keys`, `merkle`; the `ledger`, which proves each event
that a decision rests on, over its `tables` and its `tree`. How events enter the ledger, and what strangers can check, is in
`assets.consent`.
"""
