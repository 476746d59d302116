"""Whose map a dataset's network is, as `roadmap.json` says it, to be named wherever it is shown."""

from __future__ import annotations

from pathlib import Path

from runtime.errors import UserError
from runtime.files import read_json

REPORT_NAME = "roadmap.json"


def read_attribution(folder: Path) -> str:
    """The words to show; "" where nobody has to be named."""
    try:
        content = read_json(folder / REPORT_NAME)
    except UserError:
        return ""
    text = content.get("attribution", "") if isinstance(content, dict) else ""
    return text if isinstance(text, str) else ""
