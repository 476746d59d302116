"""Reports how good a teacher any weights file is on a dataset's trips."""

from __future__ import annotations

from pathlib import Path

from config.arguments import add_bad_rows_argument, example_parser
from critics.road_teacher import road_teacher
from critics.teacher_report import teacher_report
from critics.teachers import together
from data.road_network import RoadNetwork
from dataset import TripDataset
from runtime.device import resolve_device
from runtime.errors import UserError, run_main
from runtime.files import sha256_of_file, write_json
from runtime.inputs import Inputs
from runtime.logs import setup_logging
from runtime.results import Results, add_force_argument


def _windows(text: str) -> list[int | str]:
    windows: list[int | str] = []
    for part in text.split(","):
        if part.strip() == "full":
            windows.append("full")
        elif part.strip().isdigit() and int(part) > 0:
            windows.append(int(part))
        else:
            raise UserError(f"--windows has {part!r}; expected numbers and 'full': 2,4,8,full.")
    return windows


EXAMPLES = """\
  python -m tools.teacher_report --ckpt data/demo/teacher.pt --data_dir data/demo
  python -m tools.teacher_report --ckpt teachers/lmtad_beijing.pt --data_dir data/Beijing \\
      --windows 4,full --json teacher.json
"""


def main(argv: list[str] | None = None) -> int:
    """Command line: `--ckpt FILE … --data_dir DIR [--split val] [--windows 2,4,8,full]`."""
    parser = example_parser(__doc__ or "", EXAMPLES, prog="python -m tools.teacher_report")
    parser.add_argument(
        "--ckpt",
        type=Path,
        nargs="+",
        required=True,
        help="the teacher's weights file; of several, what they believe together, too",
    )
    parser.add_argument("--data_dir", type=Path, required=True, help="the dataset folder")
    parser.add_argument("--split", choices=["val", "test"], default="val", help="trips to measure")
    parser.add_argument("--windows", default="2,4,8,full", help="histories to measure")
    parser.add_argument("--max_trips", type=int, default=2000, help="measure on so many trips")
    parser.add_argument("--cuda", type=int, help="which GPU")
    parser.add_argument("--device", help="cpu or cuda:N")
    parser.add_argument("--cache_dir", type=Path, help="where the trip cache goes")
    add_bad_rows_argument(parser)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    add_force_argument(parser)
    args = parser.parse_args(argv)
    setup_logging()
    if args.max_trips < 1:
        raise UserError(f"--max_trips is {args.max_trips}; it must be at least 1.")
    windows = _windows(args.windows)
    results = Results.file(args.json, "tools.teacher_report", args.force) if args.json else None
    if results is not None:
        results.check()
    network = RoadNetwork.load(args.data_dir)
    device = resolve_device(args.cuda, args.device)
    teachers = [road_teacher(file, network, device=device) for file in args.ckpt]
    teacher = together(teachers)
    measured, train = (
        TripDataset.load(
            args.data_dir, split, network, on_bad_rows=args.on_bad_rows, cache_dir=args.cache_dir
        )
        for split in (args.split, "train")
    )
    report = teacher_report(teacher, measured, train, windows, args.max_trips)  # type: ignore[arg-type]
    print(report.table())
    if results is not None:
        trips = {args.split: measured.source_hash, "train": train.source_hash}
        model = ",".join(sha256_of_file(file) for file in args.ckpt)
        inputs = Inputs(network=network.content_hash, model=model, **trips)
        with results.of(inputs).written():
            write_json(args.json, report.to_dict())
    return 0


if __name__ == "__main__":
    run_main(main)
