"""optuna-dashboard behind a token. Knows the storage."""
