"""What drivers pay for being off the way: charges along trips, and prices found by likelihood.

`charges` says what each candidate of a trip costs beyond the cheapest way to its destination,
`likelihood` which prices make the roads that drivers took likeliest, beside somebody's opinion of
them, and `costs` finds the prices of a student's detours, delays and unusual turns. Teachers have
such a sense of their own (`critics.way`); where searches charge it is `search.detours`.
"""
