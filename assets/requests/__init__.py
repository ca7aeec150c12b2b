"""Stage 1: what is asked for. Requests from people, what is still short, and what the platform itself proposes."""
