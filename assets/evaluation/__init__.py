"""Stage 8, evaluation: samples, the scorecard, the registered version and the gate to champion.

`measuring` asks processes for samples and scores, `report` shows them. `gate` decides from paired comparisons, `decisions`
compares and keeps every verdict, `promotion` moves the alias and says what serves. `commitments` says what a model saw.
"""
