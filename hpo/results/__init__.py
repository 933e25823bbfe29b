"""What the storage holds, read and never written: trials, the best, status, means over repeats, reports.

Knows the storage and imports no framework.
"""
