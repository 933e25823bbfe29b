"""Files: every path under ``HPO_HOME``, reading what a person named, and writing so that nobody sees half of a file.

All that it knows of studies is how their folders are named.
"""
