"""The registry: everything that is asked of MLflow, about runs (`runs`) and about registered versions (`versions`)."""
