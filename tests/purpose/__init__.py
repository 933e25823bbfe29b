"""A file for each promise of README, held against the plain library that does the same."""
