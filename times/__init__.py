"""How travel times spread around what the student predicts.

The student gives one time a road, a kind of median. Here its residuals on trips that it has not
learned from become a distribution (`distribution`, fitted in `fitting` on what `records` gathers),
from which generated trips draw their times (`drawing`), and which says how surprising a time is.
"""
