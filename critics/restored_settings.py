"""The distillation settings of a resumed run are its checkpoint's, whatever is given now."""

from __future__ import annotations

from typing import Any

from config.agreement import counting_keys
from config.schema import Config, DistillConfig
from critics.own_loss import is_own_loss
from runtime.errors import UserError
from runtime.logs import get_logger

logger = get_logger("distill")


def restore_settings(config: Config, saved: dict[str, Any]) -> Config:
    """`config` with the settings in `saved`, those that change no result left as they are now.

    Warns about each that differs.
    """
    loss = saved.get("loss")
    if is_own_loss(loss) and loss != config.distill.loss:
        raise UserError(
            f"its loss was {loss}, and code is run only where the configuration names it; give "
            f"distill.loss={loss}, or start over with --fresh."
        )
    now = config.distill.model_dump(mode="json", by_alias=True)
    kept = {key: saved[key] for key in counting_keys(DistillConfig, "resuming") if key in saved}
    for name, value in sorted(kept.items()):
        if value != now[name]:
            logger.warning(
                "distill.%s is %r in the checkpoint, %r now; the checkpoint's value is used.",
                name,
                value,
                now[name],
            )
    try:
        restored = DistillConfig.model_validate({**now, **kept})
    except ValueError as error:
        raise UserError(f"The checkpoint's distillation settings are not valid: {error}") from error
    return config.model_copy(update={"distill": restored})
