"""Measuring a trained model on held-out clips and on its own samples.

Each module holds one kind of measurement as plain functions over tensors; `scorecard` puts them together into rows,
`python -m training.evaluate` runs it. Every row names its method, its sample count and its interval; what cannot be
measured is a row that says why.
"""
