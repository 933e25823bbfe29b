"""What a person writes: a study, its space, its budget, its settings; how it is found by name, and fingerprinted.

Knows data sets, because a study names one. Knows nothing of storages, workers and trials.
"""
