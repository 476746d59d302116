"""Trains HOSER, with or without a teacher: the story of a run from top to bottom.

    python train_with_distill.py                                   the demo city
    python train_with_distill.py --dataset Beijing --cuda 0 --config config/Beijing.yaml \\
        --data_dir /path/to/hoser_format                           a city of your own
    torchrun --nproc-per-node 2 train_with_distill.py ...          several processes

The parts of a run (steps, validation, checkpoints, logs) are in `training/`, the model in
`hoser.py`, the teacher in `critics/`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from config import Config, dump_config
from config.arguments import add_config_arguments, config_from_arguments, example_parser
from runtime.errors import UserError, run_main
from runtime.files import FolderLock, remove_leftovers
from runtime.launched import is_main_process
from runtime.logs import setup_logging
from runtime.memory import out_of_memory_advice
from runtime.placing import placing
from runtime.shutdown import ShutdownSignals
from training.folder import RunFolder
from training.result import EpochCallback, TrainResult

if TYPE_CHECKING:
    from training.resources import ResourcePool

__all__ = ["TrainResult", "train"]

MEMORY_ADVICE = (
    "lower optimizer_config.batch_size (and raise accum_steps to keep the step), "
    "data.candidate_top_k or trajectory_encoder_config.max_len, or set "
    "trajectory_encoder_config.grad_checkpoint."
)


def train(
    config: Config,
    *,
    pool: ResourcePool | None = None,
    folder: RunFolder | None = None,
    resume: bool | None = None,
    on_epoch_end: EpochCallback | None = None,
    finish: bool = True,
) -> TrainResult:
    """Trains as `config` says and returns where the best student is and how good it is.

    `resume` True demands an earlier run to go on with, False starts over (the earlier run's
    folder is moved aside), None goes on where there is one. A student without a state to go on
    from is moved aside as well, unless `folder` says that the caller takes care of what is there.
    `pool` shares loaded data between runs; `on_epoch_end(epoch, metrics)` may raise to end the run.
    Without `finish` the best student is only to be compared: its logits are not calibrated, and how
    its travel times spread is not found out.
    """
    # PyTorch takes seconds to load: not for `--help` or a mistake in the arguments.
    from runtime.device import resolve_device
    from runtime.distributed import join, local_device
    from training.resources import ResourcePool
    from training.run import TrainingRun

    device = local_device(resolve_device(device=config.training.device))
    processes = join(device)
    is_chosen = folder is not None
    folder = folder or RunFolder.of(config)
    lock = FolderLock(folder.path.parent, name=f".{folder.path.name}.lock", guards=folder.path)
    if processes.is_main:
        lock.acquire()
        remove_leftovers(folder.path)
    try:
        foreign = not is_chosen and folder.has_results and not folder.latest.exists()
        if (resume is False or (resume is None and foreign)) and processes.is_main:
            folder.set_aside()
        if resume is True and not folder.latest.exists():
            raise UserError(
                f"--resume: there is no checkpoint {folder.latest}; start without --resume."
            )
        processes.barrier()
        with (
            placing("train_with_distill.py", folder.path),
            ShutdownSignals() as signals,
            out_of_memory_advice(MEMORY_ADVICE),
        ):
            pool = pool or ResourcePool()
            run = TrainingRun(
                config, folder, device, processes, signals, pool, on_epoch_end, finish
            )
            result = run.execute()
        return replace(result, received=signals.received)
    finally:
        lock.release()


EXAMPLES = """\
  python train_with_distill.py
  python train_with_distill.py --no-distill --seed 1
  python train_with_distill.py --dataset Beijing --cuda 0 --config config/Beijing.yaml \\
      --data_dir /path/to/hoser_format
  python train_with_distill.py --set distill.window=full --set optimizer_config.max_epoch=3
  torchrun --nproc-per-node 2 train_with_distill.py --dataset Beijing
"""


def main(argv: list[str] | None = None) -> int:
    """The command line of `train`."""
    parser = example_parser("Train HOSER, with or without a teacher.", EXAMPLES)
    add_config_arguments(parser)
    run = parser.add_argument_group("run")
    run.add_argument("--no-distill", action="store_true", help="train without a teacher")
    earlier = run.add_mutually_exclusive_group()
    earlier.add_argument(
        "--resume", action="store_true", help="demand an earlier run to go on with"
    )
    earlier.add_argument("--fresh", action="store_true", help="move an earlier run aside")
    run.add_argument("--save_dir", help="where runs are kept; default: save")
    run.add_argument(
        "--profile_max_batches", type=int, metavar="N", help="profile N batches, then stop"
    )
    run.add_argument("--print_config", action="store_true", help="print the configuration and exit")
    arguments = parser.parse_args(argv)
    own = {
        "distill.enable": False if arguments.no_distill else None,
        "save_dir": arguments.save_dir,
        "profiling.max_batches": arguments.profile_max_batches,
    }
    setup_logging("INFO" if is_main_process() else "WARNING")
    config = config_from_arguments(arguments, own)
    if arguments.print_config:
        print(dump_config(config), end="")
        return 0
    resume = True if arguments.resume else False if arguments.fresh else None
    try:
        return train(config, resume=resume).exit_code
    finally:
        from runtime.distributed import leave

        leave()


if __name__ == "__main__":
    run_main(main)
