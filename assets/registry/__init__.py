"""The model registry in MLflow: versions with their tags and aliases, and the runs behind them."""
