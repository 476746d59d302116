"""How close generated trips are to real ones: reading, measuring, comparing, nothing else.

The measures reproduce the published evaluation number for number. Writing files, printing tables
and drawing belong to `evaluation.py` and `report`.
"""
