"""The database made safe for many processes: its retries, the studies in it, and who is alive.

Knows studies, which it records and compares. Does not know what to run next, or how a trial runs.
"""
