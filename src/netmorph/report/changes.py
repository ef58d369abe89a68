"""What a search made of its start network, as a picture."""

from __future__ import annotations

from pathlib import Path

from netmorph import zoo
from netmorph.draw import Diagram, difference
from netmorph.edit.journal import told_base
from netmorph.errors import NetmorphError
from netmorph.graph import trace
from netmorph.run.opening import load
from netmorph.run.store import network_file


def changes(folder: Path, id: int) -> Diagram | None:
    """The difference between the start network of a run and one of its networks.

    None where no edit was made, the network is not on disk, or is none of netmorph's: other constructors that a file
    names are never imported (`netmorph draw RUN:ID --base ... --edit N` draws those).
    """
    path = network_file(folder, id)
    try:
        told = told_base(path) if path.is_file() else None
        if told is None or told.name not in zoo.MODELS:
            return None
        model, journal = load(path)
        if not journal:
            return None
        shape, classes = (told.arguments[name] for name in ("input_shape", "classes"))
        inputs = zoo.example(told.name, tuple(shape), classes)
        count = f"{len(journal)} edit{'s' if len(journal) > 1 else ''}"
        return difference(trace(told.build(), inputs), trace(model, inputs), f"Start network → network {id}, {count}")
    except (NetmorphError, KeyError, TypeError):  # a damaged file must not keep the rest of a report from its reader
        return None
