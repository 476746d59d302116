"""Turns an LM-TAD training checkpoint into the weights-only file that `LMTADTeacher` loads.

The checkpoint is a pickle of the LM-TAD program's own classes. It is read as data: no class of it
is imported and no function it names is called (see `critics.checkpoint_reader`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from config.arguments import example_parser
from critics.checkpoint_reader import read_checkpoint
from critics.weights import COMPILE_PREFIX, TeacherWeights, build_lmtad, is_buffer, save_weights
from runtime.errors import UserError, run_main
from runtime.files import sha256_of_file
from runtime.inputs import Inputs
from runtime.logs import get_logger, setup_logging
from runtime.results import Results, add_force_argument

logger = get_logger("export_lmtad_weights")
STATE_KEYS = ("model", "state_dict", "model_state_dict")
EMBEDDINGS = ("transformer.wte.weight", "transformer.wpe.weight", "lm_head.weight")
WRAPPER_PREFIXES = (COMPILE_PREFIX, "module.")


def export_weights(
    checkpoint: str | Path,
    output: str | Path,
    grip_size: tuple[int, int] | None = None,
    force: bool = False,
) -> TeacherWeights:
    """Reads `checkpoint`, checks that it is an LM-TAD and writes `output`."""
    results = Results.file(output, "tools.export_lmtad_weights", force)
    results.check()
    tree = read_checkpoint(checkpoint)
    if not isinstance(tree, dict):
        raise UserError(f"{checkpoint} holds no dictionary; it is not a training checkpoint.")
    state = _state_dict(tree, checkpoint)
    dataset_config = _plain_dict(tree.get("dataset_config"))
    if grip_size is not None:
        dataset_config["grip_size"] = list(grip_size)
    if "grip_size" not in dataset_config and dataset_config.get("vocabulary") != "road":
        raise UserError(
            f"{checkpoint} does not say how large its grid is; give it with "
            '--grip_size "H W" (height and width in cells).'
        )
    if isinstance(dataset_config.get("grip_size"), str):
        dataset_config["grip_size"] = list(parse_grip_size(dataset_config["grip_size"]))
    elif isinstance(dataset_config.get("grip_size"), tuple):
        dataset_config["grip_size"] = list(dataset_config["grip_size"])
    weights = TeacherWeights(
        state, _model_config(tree, state, checkpoint), dataset_config, source=str(checkpoint)
    )
    config = build_lmtad(weights).config
    if weights.vocabulary == "grid":
        height, width = weights.grip_size
        if height * width > config.vocab_size - 3:
            raise UserError(
                f"A grid of {height} x {width} = {height * width} cells does not fit a vocabulary "
                f"of {config.vocab_size} (three of them special); check --grip_size."
            )
    with results.of(Inputs(model=sha256_of_file(checkpoint))).written():
        save_weights(output, weights)
    return weights


def _state_dict(tree: dict[Any, Any], checkpoint: str | Path) -> dict[str, Tensor]:
    found = next((tree[key] for key in STATE_KEYS if isinstance(tree.get(key), dict)), None)
    if found is None:
        raise UserError(f"{checkpoint} has no model weights (looked for {', '.join(STATE_KEYS)}).")
    state: dict[str, Tensor] = {}
    for name, tensor in found.items():
        name = str(name)
        while name.startswith(WRAPPER_PREFIXES):
            name = next(name.removeprefix(p) for p in WRAPPER_PREFIXES if name.startswith(p))
        if isinstance(tensor, Tensor) and not is_buffer(name):
            state[name] = tensor
    if "transformer.wte.weight" not in state and "lm_head.weight" not in state:
        raise UserError(f"{checkpoint} is not an LM-TAD: it has no transformer.wte.weight.")
    for name in EMBEDDINGS:
        if name in state and state[name].ndim != 2:
            raise UserError(f"{checkpoint} is not an LM-TAD: {name} is no matrix.")
    return state


def _model_config(
    tree: dict[Any, Any], state: dict[str, Tensor], checkpoint: str | Path
) -> dict[str, Any]:
    """The stored configuration; sizes it lacks follow from the weights where they can."""
    stored = tree.get("model_config")
    config = _plain_dict(stored if isinstance(stored, dict) else tree.get("model_args"))
    head = state.get("transformer.wte.weight", state.get("lm_head.weight"))
    assert head is not None
    config.setdefault("vocab_size", head.shape[0])
    config.setdefault("n_embd", head.shape[1])
    layers = {name.split(".")[2] for name in state if name.startswith("transformer.h.")}
    config.setdefault("n_layer", len(layers))
    if "transformer.wpe.weight" in state:
        config.setdefault("block_size", state["transformer.wpe.weight"].shape[0])
    config.setdefault("bias", "transformer.ln_f.bias" in state)
    missing = [name for name in ("n_head", "block_size") if name not in config]
    if missing:
        raise UserError(
            f"{checkpoint} has no {' and no '.join(missing)} in its model_config, and the weights "
            "do not tell; it cannot be exported."
        )
    return config


def _plain_dict(values: Any) -> dict[str, Any]:
    """Keeps what `weights_only` can load: plain values and lists of them."""
    if not isinstance(values, dict):
        return {}
    return {str(key): value for key, value in values.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return value is not None and isinstance(value, bool | int | float | str)


def parse_grip_size(text: str) -> tuple[int, int]:
    """`"205 252"`, also with a comma or an x between the two."""
    parts = text.replace(",", " ").replace("x", " ").split()
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UserError(f'--grip_size is {text!r}; expected "H W", as in "205 252".')
    return int(parts[0]), int(parts[1])


EXAMPLES = """\
  python -m tools.export_lmtad_weights --checkpoint lmtad_checkpoint.pt \\
      --output teachers/lmtad_beijing.pt
  python -m tools.export_lmtad_weights --ckpt_in lmtad_checkpoint.pt \\
      --ckpt_out teachers/lmtad_beijing.pt --grip_size "205 252"
"""


def main(argv: list[str] | None = None) -> int:
    """Command line: `--checkpoint IN --output OUT [--grip_size "H W"]`."""
    parser = example_parser(
        (__doc__ or "").split("\n")[0], EXAMPLES, prog="python -m tools.export_lmtad_weights"
    )
    parser.add_argument("--checkpoint", "--ckpt_in", required=True, help="the training checkpoint")
    parser.add_argument("--output", "--ckpt_out", required=True, help="the weights file to write")
    parser.add_argument(
        "--grip_size", help='the grid in cells, "H W", where the checkpoint lacks it'
    )
    parser.add_argument("--repo", help="accepted for compatibility; the LM-TAD code is not needed")
    add_force_argument(parser)
    args = parser.parse_args(argv)
    setup_logging()
    grip_size = parse_grip_size(args.grip_size) if args.grip_size else None
    with torch.no_grad():
        weights = export_weights(args.checkpoint, args.output, grip_size, args.force)
    shape = (
        "roads" if weights.vocabulary == "road" else "a grid of {} x {}".format(*weights.grip_size)
    )
    logger.info(
        "Wrote %s: %d layers, %d wide, %d tokens over %s.",
        args.output,
        weights.model_config["n_layer"],
        weights.model_config["n_embd"],
        weights.model_config["vocab_size"],
        shape,
    )
    return 0


if __name__ == "__main__":
    run_main(main)
