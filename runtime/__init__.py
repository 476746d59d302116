"""What every program needs around its work: errors, files, logs, devices, experiment tracking.

Nothing here knows about roads, trips or models.
"""
