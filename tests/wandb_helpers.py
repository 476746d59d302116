"""What an offline run of WandB's has recorded."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any


def read_wandb(folder: Path) -> list[Any]:
    """The records of an offline run: LevelDB log blocks of protocol buffers."""
    path = next(folder.glob("wandb/offline-run-*/run-*.wandb"))
    deadline = time.monotonic() + 20
    while True:  # the file is completed shortly after the run was closed
        records = parse_wandb(path.read_bytes())
        if any(record.HasField("exit") for record in records) or time.monotonic() > deadline:
            return records
        time.sleep(0.05)


def parse_wandb(raw: bytes) -> list[Any]:
    """The records in a log: blocks of 32 KiB, each with framed pieces of records."""
    from wandb.proto import wandb_internal_pb2 as messages

    position, records, pending = 7, [], b""
    while position + 7 <= len(raw):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", raw, position)
        if position + 7 + length > len(raw):  # still being written
            break
        pending += raw[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # full, or last
            record = messages.Record()  # type: ignore[attr-defined]
            record.ParseFromString(pending)
            records.append(record)
            pending = b""
    return records
