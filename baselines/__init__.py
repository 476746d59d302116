"""Yardsticks: generators that need no training, written as generated files like any other.

Walks that count transitions, and routes that a search finds. What a model adds is what it does
better than these on the same OD pairs.
"""
