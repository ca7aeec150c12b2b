"""What people judge: reviews and disputes, who may give them, which of them count, and what a reviewer looks at.

Nothing here decides about a clip; `eligibility` does, with what is counted here as one of its facts.
"""
