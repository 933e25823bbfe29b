"""Files: every path under ``HPO_HOME``, reading what a person named, and writing so that nobody sees half of a file.

Knows nothing of studies but how their folders are named.
"""
