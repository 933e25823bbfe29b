"""Read-only questions to the storage: trials, the best of them, where a study stands, means over repeats, reports.

Knows the storage and imports no framework.
"""
