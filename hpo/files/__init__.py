"""Files: every path under ``HPO_HOME``, reading what a person named, and writing so that nobody sees half of a file.

It knows nothing of studies except the names of their folders.
"""
