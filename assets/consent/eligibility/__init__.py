"""Which clips may be used: what is known of each, the decision for a purpose, and how many are in and out over time.

The rule is `training.consent.eligibility`; here it meets the lake.
"""
