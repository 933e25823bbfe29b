"""What a person writes: a search, a comparison, their task, space and budget; how it is found by name, and hashed.

Knows data sets, because a study names one. Knows nothing of storages, workers and trials.
"""
