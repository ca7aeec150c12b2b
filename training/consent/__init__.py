"""Consent as pure rules: what people sign, the ledger that orders it, and the one function that decides.

Everything here is used by the platform and by the training process alike, so it depends on SQLAlchemy, cryptography and
rfc8785 alone. In one sitting, read the rules in this order; each is a page or two and knows only those before it:

1. `events`         what can be said: consent, identity, dispute; how it is signed (`event_schema`: each field's form)
2. `admission`      who may say what, when: every rule by name, judged on the `register` of what was said before
3. `state`          what was said means over time: the fold to consents, guardians and holds; the time rules
4. `eligibility`    may this clip (`clip_facts`) be used, for this, over this window? Default is no
5. `snapshot`       a training set sealed on those answers
6. `guard`          the training process asks again, at every checkpoint, about all that its weights ever saw

Below them, how nothing of it can be changed unnoticed: `canonical`, `keys`, `merkle`, `checkpoint`; the `ledger`, in a
database that guards itself (`database`, `guards`). Above them, what strangers can check: `statements`, `proofs`.
"""
