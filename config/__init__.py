"""The typed configuration: what may be set, what it means, how a YAML file becomes it."""

import runtime  # noqa: F401  # Ctrl-C ends what is still being imported in one line
from config.evaluation import EvaluationConfig
from config.loading import dump_config, load_config, load_evaluation_config
from config.schema import Config

__all__ = ["Config", "EvaluationConfig", "dump_config", "load_config", "load_evaluation_config"]
