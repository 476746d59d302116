"""Bundles what a run left behind: model, config, evaluation, WandB files, trips as GeoJSON.

    python -m tools.collect_distill_artifacts --run_name beijing_distill --run_dir RUN \\
        --generated_csv trips.csv --backup_root /backups

Everything goes to `<backup_root>/<run_name>/` with a manifest of sizes and checksums. The bundle
appears complete or not at all, and an existing one is only replaced with `--force`.
"""

from __future__ import annotations

import contextlib
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from config.arguments import example_parser
from config.choices import OnBadRows
from config.finding import find_data_dir, run_file
from config.loading import load_config
from data.generation_record import record_path, say_other_student
from data.road_network import RoadNetwork
from metrics.generated import read_generated
from metrics.trips import read_real_trips
from report.geojson import (
    generated_features,
    road_features,
    trip_features,
    write_feature_collection,
)
from report.inputs import find_generated_file
from runtime.errors import UserError, run_main
from runtime.files import replace_atomically, sha256_of_file, write_json
from runtime.logs import get_logger, setup_logging

logger = get_logger("collect")

MAX_NAME_BYTES = 200
SORTED = ("model", "log")  # the folders into which a study sorts a run's files
SORTED_TRAINING = ("log/metrics.json", "log/*.log", "final_run.json")
# folder in the bundle -> what of the run goes there
PARTS: dict[str, tuple[str, ...]] = {
    "model": ("best.pth", "*.pth", "model/*.pth"),
    "config": ("*.yaml", "*.yml", "model/*.yaml"),
    "training": ("metrics.json", "*.log", "tensorboard_log/**/*", *SORTED_TRAINING),
    "evaluation": ("eval/**/*", "eval_*/**/*", "results.json", "trajectory_metrics.json"),
    "wandb": ("wandb/**/*",),
}
LEFT_OUT = ("checkpoint_latest.pth",)


def collect(
    run_name: str,
    run_dir: str | Path,
    generated_csv: str | Path | None,
    backup_root: str | Path,
    *,
    data_dir: str | Path | None = None,
    od_source: str = "test",
    force: bool = False,
    archive: bool = False,
) -> Path:
    """Makes the bundle and returns its folder."""
    run, root = Path(run_dir), Path(backup_root)
    target = root / _folder_name(run_name)
    if not run.is_dir():
        raise UserError(f"The run folder {run} does not exist (--run_dir).")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UserError(f"{target} is a link or a file; a bundle is a folder. Remove it first.")
    if target.exists() and not force:
        raise UserError(f"{target} exists; replace it with --force or choose another --run_name.")
    if archive and _packed(target).exists() and not force:
        raise UserError(f"{_packed(target)} exists; replace it with --force.")
    if target.resolve().is_relative_to(run.resolve()) or run.resolve().is_relative_to(
        target.resolve()
    ):
        raise UserError(f"The bundle {target} and the run {run} must not lie in each other.")
    generated = find_generated_file(generated_csv, run)
    if not generated.is_file():  # a device may have no end
        raise UserError(f"{generated} is no file (--generated_csv).")
    network = RoadNetwork.load(find_data_dir(data_dir, run))
    say_other_student(generated, run)
    _say_damaged_student(run_file(run, "best.pth"))
    staging = _staging_folder(root, target.name)
    try:
        _copy_run(run, staging)
        _copy_generated(generated, staging / "generated")
        _write_geojson(staging / "geojson", network, generated, od_source, _on_bad_rows(run))
        _write_manifest(staging, run_name, run, generated)
        with _packed_beside(target, staging) if archive else contextlib.nullcontext():
            _put_in_place(staging, target)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _say_damaged_student(file: Path) -> None:
    """Warns of a student that nobody will be able to use; the bundle keeps what there is."""
    from models.checkpoint import read_student_file

    if file.is_file():
        try:
            read_student_file(file)
        except UserError as error:
            logger.warning("The bundle's student is of no use: %s", error)


@contextlib.contextmanager
def _packed_beside(bundle: Path, content: Path) -> Iterator[None]:
    """Packs `content` before the bundle is in its place: a full disk leaves neither of them."""
    with replace_atomically(_packed(bundle)) as temporary:
        with tarfile.open(temporary, "w:gz") as archive:
            archive.add(content, arcname=bundle.name)
        yield


def _packed(bundle: Path) -> Path:
    return bundle.with_name(f"{bundle.name}.tar.gz")


def _folder_name(run_name: str) -> str:
    """The run's name where it can be one folder's name, so that nothing leaves backup_root."""
    bad = not run_name.strip() or run_name.startswith(".") or not run_name.isprintable()
    if bad or any(sign in run_name for sign in "/\\\0:") or len(run_name.encode()) > MAX_NAME_BYTES:
        raise UserError(
            f"--run_name {run_name[:60]!r} cannot be a folder's name; use letters, digits, "
            "'-', '_' and '.', not starting with a dot."
        )
    return run_name


def _staging_folder(root: Path, name: str) -> Path:
    try:
        root.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".tmp", dir=root))
    except OSError as error:
        raise UserError(f"{root} cannot be written: {error.strerror or error}.") from error
    staging.chmod(0o755)
    return staging


def _copy_run(run: Path, staging: Path) -> None:
    """Copies the run's files by kind; links are left out, since they may lead anywhere."""
    for part, patterns in PARTS.items():
        count = 0
        for file in _matching(run, patterns):
            destination = staging / part / _place(run, file.relative_to(run))
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, destination)
            count += 1
        logger.info("%s: %d files.", part, count)
    if not any((staging / "model").glob("**/*.pth")):
        raise UserError(f"{run} holds no model (*.pth); is it the folder of a training run?")


def _place(run: Path, inside: Path) -> Path:
    """Where in its part a file goes: as in a run's folder, also from a study's."""
    bare = inside.relative_to(inside.parts[0]) if inside.parts[0] in SORTED else inside
    return inside if (run / bare).exists() else bare


def _matching(run: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    found = {file for pattern in patterns for file in run.glob(pattern)}
    for file in sorted(found):
        inside = [
            run.joinpath(*file.relative_to(run).parts[: i + 1])
            for i in range(len(file.relative_to(run).parts))
        ]
        if file.is_file() and file.name not in LEFT_OUT and not any(p.is_symlink() for p in inside):
            yield file


def _copy_generated(generated: Path, folder: Path) -> None:
    folder.mkdir()
    shutil.copy2(generated, folder / generated.name)
    beside = record_path(generated)
    if beside.is_file():
        shutil.copy2(beside, folder / beside.name)


def _on_bad_rows(run: Path) -> OnBadRows:
    """What the run did with bad trips; a configuration that cannot be read does not tell."""
    with contextlib.suppress(UserError):
        if (own := run_file(run, "config.yaml")).is_file():
            return load_config(own).data.on_bad_rows
    return "error"


def _write_geojson(
    folder: Path, network: RoadNetwork, generated: Path, od_source: str, on_bad_rows: OnBadRows
) -> None:
    trips = read_generated(generated, network, on_bad_rows)
    real = read_real_trips(network.folder, od_source, network, on_bad_rows)
    counts = {
        "roads.geojson": road_features(network),
        "generated.geojson": generated_features(trips, network),
        f"real_{od_source}.geojson": trip_features(real, network, "real"),
    }
    for name, features in counts.items():
        logger.info("%s: %d features.", name, write_feature_collection(folder / name, features))


def _write_manifest(staging: Path, run_name: str, run: Path, generated: Path) -> None:
    files: dict[str, Any] = {}
    for file in sorted(staging.rglob("*")):
        if file.is_file():
            name = file.relative_to(staging).as_posix()
            files[name] = {"bytes": file.stat().st_size, "sha256": sha256_of_file(file)}
    write_json(
        staging / "manifest.json",
        {
            "run_name": run_name,
            "run_dir": str(run),
            "generated_csv": str(generated),
            "files": files,
        },
    )


def _put_in_place(staging: Path, target: Path) -> None:
    """Renames the finished bundle to its place; an old one is removed only after that."""
    if not target.exists():
        staging.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
    target.rename(old)
    try:
        staging.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


EXAMPLES = """\
  python -m tools.collect_distill_artifacts --run_name demo --run_dir save/demo/seed0_distill \\
      --generated_csv trips.csv --backup_root backups
"""


def main() -> int:
    """Collects what the command line names."""
    parser = example_parser(
        "Bundles a run: model, config, evaluation, WandB files, trips as GeoJSON.",
        EXAMPLES,
        prog="python -m tools.collect_distill_artifacts",
    )
    add = parser.add_argument
    add("--run_name", required=True, help="the bundle's name, a folder below --backup_root")
    add("--run_dir", required=True, help="the training run, e.g. save/demo/seed0_distill")
    add("--generated_csv", help="default: the newest generated CSV in --run_dir")
    add("--backup_root", required=True, help="where bundles are kept")
    add("--data_dir", help="the dataset folder; default: what the run was trained on")
    add("--od_source", choices=["test", "train", "val"], default="test", help="real trips to add")
    add("--force", action="store_true", help="replace an existing bundle")
    add("--archive", action="store_true", help="also pack the bundle as .tar.gz")
    arguments = parser.parse_args()
    setup_logging()
    print(f"The bundle is {collect(**vars(arguments))}")
    return 0


if __name__ == "__main__":
    run_main(main)
