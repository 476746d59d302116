"""Programs beside the main ones, each `python -m tools.<name>`."""

import runtime  # noqa: F401  # Ctrl-C ends what is still being imported in one line
