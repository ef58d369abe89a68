"""TensorBoard's event files: scalars of all steps, none dropped, and what is damaged is said.

TensorBoard's `EventAccumulator` keeps a sample of the points, knows scalars of TensorFlow 2 as tensors only, and ends
silently where a file is damaged. So its loader is read here, record by record.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from netmorph.errors import require
from netmorph.plot.settings import from_name
from netmorph.plot.values import Curve, PlotError, Run

PATTERN = "*tfevents*"
_FRAME = 16  # bytes around each record: its length, and two checksums
_SCALARS = "scalars"  # the plugin that shows them


def read_events(files: Sequence[Path], name: str) -> list[Run]:
    """The scalars of one run: the event files of one folder, in the order in which they were written.

    Of a step that was written twice the later value counts. Where a writer began again at an earlier step and said so
    (`purge_step`), what lay behind that is dropped, as TensorBoard does.

    Returns:
        The run; nothing where no scalar was written.

    Raises:
        PlotError: a file is damaged.
        MissingExtra: tensorboard is not installed.
    """
    points: dict[str, dict[int, tuple[float, float]]] = {}
    start = require("tensorboard.compat.proto.event_pb2", extra="plot").SessionLog.START
    first = None
    shown: dict[str, str] = {}
    for event in (event for file in sorted(files) for event in _events(file)):
        if event.HasField("session_log") and event.session_log.status == start:
            points = {
                tag: {step: point for step, point in own.items() if step < event.step} for tag, own in points.items()
            }
        for tag, value in _scalars(event.summary.value, shown):
            first = event.wall_time if first is None else first
            points.setdefault(tag, {})[event.step] = (event.wall_time - first, value)
    curves = {tag: _curve(own) for tag, own in sorted(points.items()) if own}
    settings, seed = from_name(name)
    return [Run(name, settings, seed, curves)] if curves else []


def _curve(points: dict[int, tuple[float, float]]) -> Curve:
    steps = sorted(points)
    return Curve({"step": steps, "seconds": [points[step][0] for step in steps]}, [points[step][1] for step in steps])


def _events(file: Path) -> Iterator[Any]:
    loader = require("tensorboard.backend.event_processing.event_file_loader", extra="plot").RawEventFileLoader
    event = require("tensorboard.compat.proto.event_pb2", extra="plot").Event
    decode_error = require("google.protobuf.message", extra="plot").DecodeError
    read, count, size = 0, 0, file.stat().st_size
    for record in loader(str(file)).Load():
        read, count = read + len(record) + _FRAME, count + 1
        try:
            yield event.FromString(record)
        except decode_error as error:
            raise PlotError(
                f"{file} is no event file of TensorBoard's: record {count} is no event ({error})"
            ) from error
    if read < size:
        _tell_of_damage(file, read, count)


def _tell_of_damage(file: Path, read: int, count: int) -> None:
    """The last record may be cut short, where a process was killed or still writes. All else is damage."""
    checksum = require("tensorboard.compat.tensorflow_stub.pywrap_tensorflow", extra="plot").masked_crc32c
    with open(file, "rb") as opened:
        opened.seek(read)
        rest = opened.read()
    length, own = (int.from_bytes(rest[start:end], "little") for start, end in ((0, 8), (8, 12)))
    is_short = len(rest) < 12 or (checksum(rest[:8]) == own and len(rest) < length + _FRAME)
    if count and is_short:
        warnings.warn(f"{file} ends within an event; the {count} events before it are shown", stacklevel=2)
        return
    raise PlotError(
        f"{file} is damaged after {count} events ({read:,} of {read + len(rest):,} bytes), or no event file of "
        "TensorBoard's. Copy it again from where it was written, or leave it out"
    )


def _scalars(values: Iterable[Any], shown: dict[str, str]) -> Iterator[tuple[str, float]]:
    """Tags and numbers, whether written by PyTorch and TensorFlow 1 or as tensors by TensorFlow 2.

    Args:
        shown: which plugin shows a tag, which only its first event tells; added to.
    """
    ndarray = require("tensorboard.util.tensor_util", extra="plot").make_ndarray
    for value in values:
        plugin = shown.setdefault(value.tag, value.metadata.plugin_data.plugin_name)
        if value.HasField("simple_value"):
            yield value.tag, value.simple_value
        elif value.HasField("tensor") and plugin == _SCALARS:
            yield value.tag, float(ndarray(value.tensor))
