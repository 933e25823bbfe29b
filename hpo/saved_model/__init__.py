"""Trained models as files: exported, proven to load, inspected before they are loaded, measured, used to predict.

It knows results and how a trial trains, because an export trains the best trial again.
"""
