"""Processes: the loop of one worker, the workers of one machine, a launch, and what they leave on the disk.

Knows how a trial runs and how a model is exported. Only `cli/` and `api` know it.
"""
