"""Stage behind the warehouse, coverage: which class each clip is of, what is short, and what to ask for next.

`classes` names the class of every clip, `measures` how uneven they are, `sampling_weights` how often training should see
each; `gaps` are the shortfalls and `proposals` the requests that would fill them.
"""
