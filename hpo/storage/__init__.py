"""The database made safe for many processes: what is repeated in an outage, the studies in it, which workers live.

Knows studies, which it records and compares. Does not know what to run next, or how a trial runs.
"""
