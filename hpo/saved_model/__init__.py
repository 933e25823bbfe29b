"""Trained models as files: exported, proven to load, inspected before they are loaded, measured, and used to predict.

Knows results and how a trial trains, because an export trains its winner again.
"""
