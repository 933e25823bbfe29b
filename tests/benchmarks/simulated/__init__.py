"""Searches whose training is replaced by known learning curves, and whose clock is simulated."""
