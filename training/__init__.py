"""The parts of a training run, each behind a narrow interface.

The run itself, from top to bottom, is `train_with_distill.py`.
"""
