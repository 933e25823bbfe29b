"""optuna-dashboard behind a token. It knows the storage."""
