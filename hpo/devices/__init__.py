"""This machine: its GPUs and cores as slots for workers, and what the frameworks print when they are imported.

It knows nothing of studies. It sets the environment that Keras's backend needs, and imports the backend.
"""
