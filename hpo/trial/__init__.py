"""One trial: its model, its fit, its checkpoints, its reports, and its outcome.

Knows its claim. Does not know the process that runs it. The only room that trains with Keras.
"""
