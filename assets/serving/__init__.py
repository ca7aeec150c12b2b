"""Serving: prompts in, policy checked, marked videos out, from the command line, MLflow or a pyfunc."""
