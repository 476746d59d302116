"""Generation and evaluation of every model of an evaluation folder; `python_pipeline.py` runs it.

`plan` says what is to be done and where it goes, `steps` does one part of it, `ledger` knows what
is already done, `sync` uploads offline WandB runs without anyone waiting for it.
"""
