"""The exporter: parity with the original LM-TAD, and that no checkpoint can make it run code."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import subprocess
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from critics.checkpoint_reader import read_checkpoint
from critics.weights import build_lmtad, load_weights, save_weights
from runtime.errors import UserError
from tools.export_lmtad_weights import export_weights, main


@pytest.fixture
def exported(parity_dir: Path, tmp_path: Path) -> Path:
    path = tmp_path / "weights.pt"
    assert main(["--ckpt_in", str(parity_dir / "lmtad_ckpt.pt"), "--ckpt_out", str(path)]) == 0
    return path


def test_logits_equal_the_originals(exported: Path, parity_dir: Path) -> None:
    expected = np.load(parity_dir / "lmtad_out.npz")
    weights = load_weights(exported)
    assert weights.grip_size == tuple(expected["grid_hw"])
    model = build_lmtad(weights).eval()
    tokens = torch.from_numpy(expected["tokens"])
    with torch.no_grad():
        logits = model(tokens)
        np.testing.assert_allclose(logits, expected["logits"], atol=1e-4)
        hidden = model.hidden(tokens)
        ids = torch.randint(0, 270, (6, 12, 5), generator=torch.Generator().manual_seed(0))
        chosen = model.candidate_logits(hidden, ids)
    np.testing.assert_allclose(chosen, logits.gather(2, ids), atol=1e-5)
    full = torch.softmax(logits, -1).gather(2, ids)
    torch.testing.assert_close(
        torch.softmax(chosen, -1), full / full.sum(-1, keepdim=True), atol=1e-6, rtol=1e-4
    )


def test_output_is_plain(exported: Path) -> None:
    content = torch.load(exported, weights_only=True)
    assert set(content) == {"state_dict", "model_config", "dataset_config"}
    assert not any(name.startswith("_orig_mod.") for name in content["state_dict"])


class Payload:
    """Pickles as a call of `function(*args)`."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.args


def payloads(marker: Path) -> list[Any]:
    touch = f"open({str(marker)!r}, 'w').close()"
    return [
        Payload(os.system, f"touch {marker}"),
        Payload(builtins.eval, touch.replace("open", "__import__('io').open")),
        Payload(builtins.exec, touch),
        Payload(subprocess.Popen, ["touch", str(marker)]),
        Payload(getattr, Payload(__import__, "os"), "system"),
        Payload(Path.touch, marker),
        Payload(torch.load, str(marker)),
        Namespace(hook=Payload(os.system, f"touch {marker}")),
    ]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kind", range(8))
def test_nothing_in_a_checkpoint_runs(
    parity_dir: Path, tmp_path: Path, kind: int, legacy: bool
) -> None:
    marker = tmp_path / "ran"
    good = read_checkpoint(parity_dir / "lmtad_ckpt.pt")
    evil = {
        "model": good["model"],
        "model_config": good["model_config"],
        "dataset_config": {"grip_size": [15, 18], "x": payloads(marker)[kind]},
        "args": payloads(marker)[kind],
    }
    path = tmp_path / "evil.pt"
    torch.save(evil, path, _use_new_zipfile_serialization=not legacy)
    weights = export_weights(path, tmp_path / "out.pt")
    assert not marker.exists()
    assert weights.dataset_config == {"grip_size": [15, 18]}
    torch.load(tmp_path / "out.pt", weights_only=True)
    assert not marker.exists()


RAW_PICKLES = [
    b"cos\nsystem\n(S'touch MARKER'\ntR.",  # protocol 0: GLOBAL, REDUCE
    b"(S'touch MARKER'\nios\nsystem\n.",  # INST
    b"(cos\nsystem\nS'touch MARKER'\no.",  # OBJ
    b"\x80\x02cbuiltins\neval\nX\x0d\x00\x00\x00open('MARKER')\x85\x81.",  # NEWOBJ
    b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch MARKER\x85R.",  # STACK_GLOBAL
    b"\x80\x02ccopyreg\n_reconstructor\n(cos\nsystem\ncbuiltins\nobject\nNtR}b.",  # BUILD
]


@pytest.mark.parametrize("raw", RAW_PICKLES)
def test_hand_written_pickles_run_nothing(
    raw: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "raw.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", raw)
    try:
        assert not read_checkpoint(path)
    except UserError as error:
        assert str(path) in str(error)
    assert [entry.name for entry in tmp_path.iterdir()] == ["raw.pt"]


def rewritten(path: Path, source: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    tree = read_checkpoint(source)
    change(tree)
    torch.save(tree, path)
    return path


def test_missing_grid_names_the_flag(parity_dir: Path, tmp_path: Path) -> None:
    path = rewritten(
        tmp_path / "c.pt",
        parity_dir / "lmtad_ckpt.pt",
        lambda tree: tree["dataset_config"].pop("grip_size"),
    )
    with pytest.raises(UserError, match="--grip_size"):
        export_weights(path, tmp_path / "w.pt")
    assert main(["--checkpoint", str(path), "--output", str(tmp_path / "w.pt"),
                 "--grip_size", "15 18", "--repo", "/nowhere"]) == 0  # fmt: skip
    assert load_weights(tmp_path / "w.pt").grip_size == (15, 18)
    with pytest.raises(UserError, match="does not fit a vocabulary of 273"):
        export_weights(path, tmp_path / "w.pt", grip_size=(100, 100))
    with pytest.raises(UserError, match="grip_size"):
        main(["--checkpoint", str(path), "--output", "x", "--grip_size", "15"])


def test_sizes_a_checkpoint_lacks_follow_from_its_weights(parity_dir: Path, tmp_path: Path) -> None:
    def strip(tree: dict[str, Any]) -> None:
        tree["model_config"] = {"n_head": 2}
        del tree["model"]["_orig_mod.lm_head.weight"]
        tree["model"]["_orig_mod.transformer.h.0.attn.bias"] = torch.ones(1, 1, 40, 40)

    path = rewritten(tmp_path / "c.pt", parity_dir / "lmtad_ckpt.pt", strip)
    export_weights(path, tmp_path / "w.pt")
    config = build_lmtad(load_weights(tmp_path / "w.pt")).config
    assert (config.vocab_size, config.block_size, config.n_layer, config.bias) == (
        273,
        40,
        2,
        False,
    )


def test_damaged_and_foreign_files_are_user_errors(parity_dir: Path, tmp_path: Path) -> None:
    whole = (parity_dir / "lmtad_ckpt.pt").read_bytes()
    cases = {
        "empty.pt": b"",
        "text.pt": b"not a checkpoint",
        "short.pt": whole[: len(whole) // 2],
        "number.pt": pickle.dumps(3),
    }
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=name):
            export_weights(tmp_path / name, tmp_path / "w.pt")
        with pytest.raises(UserError, match="export it with"):
            load_weights(tmp_path / name)
    with pytest.raises(UserError, match="cannot be read"):
        export_weights(tmp_path / "absent.pt", tmp_path / "w.pt")
    with pytest.raises(UserError, match="do not exist"):
        load_weights(tmp_path / "absent.pt")
    with pytest.raises(UserError, match="weights-only"):
        load_weights(parity_dir / "lmtad_ckpt.pt")


def test_a_tensor_may_not_reach_beyond_its_storage(parity_dir: Path, tmp_path: Path) -> None:
    source = zipfile.ZipFile(parity_dir / "lmtad_ckpt.pt")
    path = tmp_path / "c.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name in source.namelist():
            data = source.read(name)
            archive.writestr(name, data[:-64] if name.endswith("/data/0") else data)
    with pytest.raises(UserError, match="beyond its storage"):
        read_checkpoint(path)


def test_weights_that_do_not_fit_their_config(exported: Path, tmp_path: Path) -> None:
    weights = load_weights(exported)
    for change, message in (
        ({"n_embd": 30}, "means"),
        ({"n_layer": 3}, "lacks the tensor"),
        ({"n_layer": 1}, "does not have"),
        ({"n_head": 5}, "divisible"),
        ({"n_head": "2"}, "positive whole number"),
    ):
        weights.model_config.update(change)
        save_weights(tmp_path / "w.pt", weights)
        with pytest.raises(UserError, match=message):
            build_lmtad(load_weights(tmp_path / "w.pt"))
        weights.model_config.update(n_embd=32, n_layer=2, n_head=2)


def test_views_and_shared_storages_are_read_right(tmp_path: Path) -> None:
    base = torch.arange(24, dtype=torch.float64).reshape(4, 6)
    tree = {
        "view": base[1:3, ::2],
        "transposed": base.T,
        "half": base.half(),
        "brain": base.bfloat16(),
        "flags": base > 5,
        "parameter": torch.nn.Parameter(base.clone()),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(7),
    }
    for legacy in (False, True):
        buffer = io.BytesIO()
        torch.save(tree, buffer, _use_new_zipfile_serialization=not legacy)
        (tmp_path / "t.pt").write_bytes(buffer.getvalue())
        read = read_checkpoint(tmp_path / "t.pt")
        for name, tensor in tree.items():
            assert torch.equal(read[name], tensor.detach()), name
            assert read[name].dtype == tensor.dtype
