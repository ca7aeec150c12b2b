"""Serving: prompts in, the policy asked, marked videos out; from the command line, MLflow or a pyfunc.

`answer` asks the prompt policy, generates and marks, `pyfunc` is the code that MLflow keeps of a version,
`serve` packages a version for the registry and asks the registry whether it may still answer.
"""
