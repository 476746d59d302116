"""The tuning study: its storage, trials, final runs, statistics and report.

`tune_hoser.tune` joins them; how a single run trains is not decided here.
"""
