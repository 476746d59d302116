"""Settings of the distillation that were given and have no say, because others rule them out."""

from __future__ import annotations

from config.schema import Config


def unread_settings(config: Config) -> list[str]:
    """A line for each; none where no teacher is wanted."""
    distill = config.distill
    if not distill.enable:
        return []
    lines = _unread_schedule(
        "temperature", distill.temperature, distill.temperature_end, distill.temperature_schedule
    )
    stays = distill.temperature_schedule == "constant" or distill.temperature_end is None
    if stays and distill.temperature_stages > 1:
        lines.append("distill.temperature_stages has no say where the temperature stays.")
    if distill.combination == "convex":
        if distill.lambda_schedule != "constant" or distill.lambda_end is not None:
            lines.append(
                "distill.lambda_schedule and distill.lambda_end have no say with "
                "distill.combination=convex, whose weight is distill.alpha."
            )
        return lines
    lines += _unread_schedule(
        "lambda", distill.lambda_, distill.lambda_end, distill.lambda_schedule
    )
    if not config.distilling and distill.lambda_end and not lines:
        lines.append(
            f"distill.lambda is 0, so there is no teacher, and distill.lambda_end "
            f"({distill.lambda_end:g}) has no say; let a lambda above 0 rise by "
            "distill.lambda_ramp_epochs."
        )
    return lines


def _unread_schedule(name: str, start: float, end: float | None, kind: str) -> list[str]:
    """What of a schedule is missing for the rest to count."""
    if kind == "constant" and end is not None and end != start:
        return [
            f"distill.{name}_end ({end:g}) has no say while distill.{name}_schedule is constant; "
            "give linear, exponential or cosine."
        ]
    if kind != "constant" and end is None:
        return [f"distill.{name}_schedule ({kind}) has no say without a distill.{name}_end."]
    return []
