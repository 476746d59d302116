"""Is this trip normal? Trips scored by teachers, students and simple yardsticks.

`score(ScoreRequest(models=[...], data_dir=...))` is the whole of it; `tools.score_trips` is its
command line.
"""

from critics.scoring.session import ScoreRequest, ScoreResult, score

__all__ = ["ScoreRequest", "ScoreResult", "score"]
