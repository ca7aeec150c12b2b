"""Signed answers to people: the receipt of a consent, and whether a model ever saw their footage.

Belongs here: gathering what is said. What a statement is and how strangers check it is `training.consent.proofs`.
"""
