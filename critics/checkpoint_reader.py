"""Reads the tensors and plain values out of a PyTorch checkpoint without running any of it.

A pickle is a program: it may name any function and call it. Here every name it mentions becomes an
inert record class made on the spot, so whatever the program "calls" only builds a record; nothing
is imported, looked up or executed. Tensors are put together afterwards from those records.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from runtime.errors import UserError
from runtime.names import refuse_idle_pipe

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
MAX_DEPTH = 64
MAX_ITEMS = 5_000_000

STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Record:
    """A foreign object as data: what it was called with and the state it was given."""

    origin = ("", "")

    def __new__(cls, *args: Any, **kwargs: Any) -> Record:
        record = super().__new__(cls)
        record.args = args
        record.state = None
        record.items = []
        return record

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args: tuple[Any, ...] = args
        self.state: Any
        self.items: list[Any]

    def __call__(self, *args: Any) -> Record:
        """A call of what a call returned is one more record."""
        return Record(self, *args)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def append(self, value: Any) -> None:
        """Keeps what a foreign list was given."""
        self.items.append(value)

    def extend(self, values: Any) -> None:
        """Keeps what a foreign list was given."""
        self.items.extend(values)


@dataclass(frozen=True)
class StorageReference:
    """A tensor's memory, named but not read yet."""

    dtype: torch.dtype
    key: str


class _InertUnpickler(pickle.Unpickler):
    """An unpickler that cannot resolve any name.

    This is not `pickle.load`: `find_class` never imports, it makes an empty subclass of `Record`.
    The pickle's opcodes can only combine those records with plain values.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.dtypes: dict[str, torch.dtype] = {}

    def find_class(self, module: str, name: str) -> type:
        return type("ForeignRecord", (Record,), {"origin": (module, name)})

    def persistent_load(self, pid: Any) -> StorageReference:
        if not isinstance(pid, tuple) or len(pid) < 3 or pid[0] != "storage":
            raise UserError("The checkpoint refers to something that is not a tensor's storage.")
        kind = getattr(pid[1], "origin", ("", ""))[1]
        if kind not in STORAGE_DTYPES:
            raise UserError(f"The checkpoint has a tensor of an unknown type ({kind or pid[1]!r}).")
        self.dtypes[str(pid[2])] = STORAGE_DTYPES[kind]
        return StorageReference(STORAGE_DTYPES[kind], str(pid[2]))


def read_checkpoint(path: str | Path) -> Any:
    """The checkpoint as dictionaries, lists, plain values and tensors.

    A foreign object with attributes becomes a dictionary of them, any other becomes None.
    """
    path = Path(path)
    try:
        refuse_idle_pipe(path)
        with path.open("rb") as file:
            if zipfile.is_zipfile(file):
                return _read_zip(file)
            file.seek(0)
            return _read_legacy(file)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # a damaged pickle can raise anything; it ran nothing
        raise UserError(
            f"{path} is not a readable PyTorch checkpoint ({type(error).__name__}: {error})."
        ) from error


def _read_zip(file: IO[bytes]) -> Any:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        roots = [name for name in names if name.split("/")[-1] == "data.pkl"]
        if any(name.endswith("constants.pkl") for name in names):
            raise UserError("This is a TorchScript program, not a training checkpoint.")
        if not roots:
            raise UserError("The archive holds no data.pkl; it is not a PyTorch checkpoint.")
        root = roots[0].removesuffix("data.pkl")
        big_endian = f"{root}byteorder" in names and archive.read(f"{root}byteorder") == b"big"
        tree = _InertUnpickler(io.BytesIO(archive.read(roots[0]))).load()
        storages: dict[str, Tensor] = {}

        def storage(reference: StorageReference) -> Tensor:
            if reference.key not in storages:
                data = archive.read(f"{root}data/{reference.key}")
                storages[reference.key] = _flat_tensor(data, reference.dtype, big_endian)
            return storages[reference.key]

        return _Plain(storage).of(tree)


def _read_legacy(file: IO[bytes]) -> Any:
    """The format before PyTorch 1.6: five pickles, then the storages one after another."""
    if _InertUnpickler(file).load() != LEGACY_MAGIC:
        raise UserError("The file is neither a zip archive nor an old PyTorch checkpoint.")
    _InertUnpickler(file).load()  # protocol version
    system = _InertUnpickler(file).load()
    big_endian = isinstance(system, dict) and not system.get("little_endian", True)
    unpickler = _InertUnpickler(file)
    tree = unpickler.load()
    storages: dict[str, Tensor] = {}
    for key in _InertUnpickler(file).load():
        count = int.from_bytes(file.read(8), "big" if big_endian else "little")
        dtype = unpickler.dtypes[str(key)]
        data = file.read(count * dtype.itemsize)
        if len(data) != count * dtype.itemsize:
            raise UserError("The file ends in the middle of a tensor.")
        storages[str(key)] = _flat_tensor(data, dtype, big_endian)
    return _Plain(lambda reference: storages[reference.key]).of(tree)


def _flat_tensor(data: bytes, dtype: torch.dtype, big_endian: bool) -> Tensor:
    if len(data) % dtype.itemsize:
        raise UserError("A tensor's storage has a broken length.")
    if not data:
        return torch.empty(0, dtype=dtype)
    raw = np.frombuffer(data, dtype=np.uint8)
    if big_endian and dtype.itemsize > 1:
        raw = raw.reshape(-1, dtype.itemsize)[:, ::-1].reshape(-1)
    return torch.from_numpy(raw.copy()).view(dtype)


class _Plain:
    """Records to dictionaries and tensors, containers to plain ones, shared ones once.

    A few shared lists can spell out more items than there is memory; their number is bounded.
    """

    def __init__(self, storage: Any) -> None:
        self.storage = storage
        self._done: dict[int, tuple[Any, int]] = {}  # identity -> the plain form and its size
        self._items = 0

    def of(self, value: Any, depth: int = 0) -> Any:
        """The plain form of a value."""
        if value is None or isinstance(value, bool | int | float | str | bytes):
            self._count(1)
            return value
        if depth > MAX_DEPTH:
            raise UserError("The checkpoint is nested too deeply.")
        known = self._done.get(id(value))
        if known is not None:
            self._count(known[1])
            return known[0]
        before = self._items
        self._count(1)
        plain = self._convert(value, depth + 1)
        self._done[id(value)] = plain, self._items - before
        return plain

    def _count(self, items: int) -> None:
        self._items += items
        if self._items > MAX_ITEMS:
            raise UserError("The checkpoint holds more items than any training leaves.")

    def _convert(self, value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            return {key: self.of(item, depth) for key, item in value.items()}
        if isinstance(value, list):
            return [self.of(item, depth) for item in value]
        if isinstance(value, tuple):
            return tuple(self.of(item, depth) for item in value)
        if not isinstance(value, Record):
            return None
        if value.origin in (
            ("torch._utils", "_rebuild_tensor_v2"),
            ("torch._utils", "_rebuild_tensor"),
        ):
            return _tensor(value, self.storage)
        if value.origin[0] == "torch._utils" and value.origin[1].startswith("_rebuild_parameter"):
            return self.of(value.args[0], depth)
        if value.origin == ("collections", "OrderedDict"):
            return {key: self.of(item, depth) for key, item in value.items}
        state = value.state
        if isinstance(state, tuple) and len(state) == 2:  # (attributes, slots)
            state = {**(state[0] or {}), **(state[1] or {})}
        return self.of(state, depth) if isinstance(state, dict) else None


def _tensor(record: Record, storage: Any) -> Tensor:
    reference, offset, size, stride = record.args[:4]
    if not isinstance(reference, StorageReference):
        raise UserError("A tensor of the checkpoint has no storage.")
    flat = storage(reference)
    size, stride = tuple(map(int, size)), tuple(map(int, stride))
    if len(size) != len(stride) or min((offset, *size, *stride), default=0) < 0:
        raise UserError("A tensor of the checkpoint has an impossible shape.")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and last >= flat.numel():
        raise UserError("A tensor of the checkpoint reaches beyond its storage.")
    return torch.as_strided(flat, size, stride, offset).clone()
