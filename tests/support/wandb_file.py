"""Reads the file that an offline run of wandb leaves: a log of protobuf records.

The log is LevelDB's: blocks of 32 KiB, records of a checksum (4 bytes), a length (2) and a type
(1: whole, 2: first part, 3: middle, 4: last), after a head of 7 bytes.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BLOCK = 1 << 15
_HEAD = 7


@dataclass
class WandbFile:
    """What a run has logged; values that wandb adds itself are left out of the history."""

    run_id: str = ""
    project: str = ""
    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)


def read_wandb_file(path: Path) -> WandbFile:
    """Return what a `.wandb` file holds."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = WandbFile()
    for data in _records(path.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.run_id, found.project = record.run.run_id, record.run.project
            found.name = record.run.display_name
            found.config = {one.key: json.loads(one.value_json) for one in record.run.config.update}
        elif kind == "history":
            row = {
                one.key or "/".join(one.nested_key): json.loads(one.value_json)
                for one in record.history.item
            }
            own = ("_timestamp", "_runtime")
            found.history.append({key: value for key, value in row.items() if key not in own})
        elif kind == "alert":
            found.alerts.append(record.alert.title)
    return found


def _records(data: bytes) -> Iterator[bytes]:
    position, parts = _HEAD, b""
    while position + _HEAD <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEAD:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        position += _HEAD
        parts += data[position : position + length]
        position += length
        if kind in (1, 4):
            yield parts
            parts = b""
