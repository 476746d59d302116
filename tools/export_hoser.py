"""Writes a trained student as a file that the original HOSER loads.

    python -m tools.export_hoser --checkpoint save/demo/seed0/best.pth --output hoser.pth

The original's module has parts that no formula uses (`navigator.time_estimator`, the masks of the
attention); its strict loading wants them, so they are added here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from config.arguments import example_parser
from models.checkpoint import IGNORED, read_student_file
from runtime.errors import UserError, run_main
from runtime.files import sha256_of_file
from runtime.inputs import Inputs
from runtime.logs import get_logger, setup_logging
from runtime.results import Results, add_force_argument
from runtime.torch_files import save_plain

_TRIP_QUERY = "navigator.q_proj.weight"
_TIME_HALF = "navigator.time_estimator_linear_1.bias"
_BLOCK_WEIGHT = "trajectory_encoder.transformer.h.{}.attn.c_attn.weight"
_BLOCK_MASK = "trajectory_encoder.transformer.h.{}.attn.bias"


def original_state(state: Mapping[str, Tensor], max_len: int) -> dict[str, Tensor]:
    """`state` with the names, shapes and dtypes of the original's module."""
    complete = {
        name: _original_dtype(value.detach().cpu().contiguous())
        for name, value in state.items()
        if not IGNORED.fullmatch(name)
    }
    half, width = state[_TIME_HALF].shape[0], state[_TRIP_QUERY].shape[1]
    complete["navigator.time_estimator.0.weight"] = torch.zeros(half, width)
    complete["navigator.time_estimator.0.bias"] = torch.zeros(half)
    complete["navigator.time_estimator.2.weight"] = torch.zeros(1, half)
    complete["navigator.time_estimator.2.bias"] = torch.zeros(1)
    layer = 0
    while _BLOCK_WEIGHT.format(layer) in state:
        mask = torch.ones(max_len, max_len).tril().view(1, 1, max_len, max_len)
        complete[_BLOCK_MASK.format(layer)] = mask
        layer += 1
    return complete


def _original_dtype(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value.long()


def export_hoser(
    checkpoint: Path, output: Path, max_len: int | None = None, force: bool = False
) -> None:
    """Reads a student checkpoint of ours and writes the original's state dict to `output`."""
    results = Results.file(output, "tools.export_hoser", force)
    results.check()
    file = read_student_file(checkpoint)
    max_len = max_len or file.max_len
    if max_len is None:
        raise UserError(
            f"{checkpoint} does not say for which trip length it was trained; "
            "give --max_len, the trajectory_encoder_config.max_len of its config"
        )
    if not 2 <= max_len <= MOST_MAX_LEN:  # the original's mask is as large as its square
        raise UserError(f"--max_len is {max_len}; 2 to {MOST_MAX_LEN} roads are possible.")
    state = original_state(file.state, max_len)
    with results.of(Inputs(model=sha256_of_file(checkpoint))).written():
        save_plain(output, state)


MOST_MAX_LEN = 10_000
EXAMPLES = """\
  python -m tools.export_hoser --checkpoint save/demo/seed0_distill/best.pth --output hoser.pth
"""


def main() -> None:
    parser = example_parser(
        (__doc__ or "").splitlines()[0], EXAMPLES, prog="python -m tools.export_hoser"
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="a student of ours (.pth)")
    parser.add_argument("--output", type=Path, required=True, help="the file to write")
    parser.add_argument("--max_len", type=int, help="longest trip; default: from the checkpoint")
    add_force_argument(parser)
    arguments = parser.parse_args()
    if arguments.max_len is not None and arguments.max_len < 1:
        raise UserError(f"--max_len is {arguments.max_len}; it must be at least 1")
    setup_logging()
    export_hoser(arguments.checkpoint, arguments.output, arguments.max_len, arguments.force)
    get_logger(__name__).info("Wrote %s in the original's format.", arguments.output)


if __name__ == "__main__":
    run_main(main)
