"""Processes: the loop of one worker, the workers of one machine, a launch, and what they leave on the disk.

Knows everything above; only the command line knows it.
"""
