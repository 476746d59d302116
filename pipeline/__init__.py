"""Generation and evaluation of every model of an evaluation folder; `python_pipeline.py` runs it.

`plan` says what is to be done and where it goes, `material` loads what all of it needs, `steps`
does one job after the other, `summary` compares them, `ledger` knows what is already done.
"""
