"""This machine: its GPUs and cores as slots for workers, and what its frameworks print when they are imported.

Knows nothing of studies. Everything that depends on Keras's backend is here.
"""
