"""Generating trips: OD pairs, the searches over the road network, and the file they end up in.

A search decides which partial trips to continue; `engine` runs many trips side by side and scores
all their continuations in one batch. `gene.py` is the program around it.
"""
