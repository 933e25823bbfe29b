"""This machine: its GPUs and cores as slots for workers, and what its frameworks print when they are imported.

Knows nothing of studies. Sets the environment that Keras's backend needs, and imports the backend.
"""
