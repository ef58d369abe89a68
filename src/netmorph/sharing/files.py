"""Pools in files, with what else their networks are: journals and statistics."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netmorph.errors import NetmorphError
from netmorph.files import atomic_write, write_text
from netmorph.sharing.origins import Kept
from netmorph.sharing.pool import At, Piece, Pool, Whole, assembled
from netmorph.tensor_files import FileError, read_sealed, read_told, write_sealed


class PoolError(NetmorphError):
    """A file does not hold a pool, or not the network."""


@dataclass(frozen=True, eq=False)
class Own:
    """What a network of a pool does not share.

    Attributes:
        header: what its own file would tell beside the weights, see `netmorph.edit.journal`.
        buffers: its statistics by name.
    """

    header: Mapping[str, Any]
    buffers: Mapping[str, Tensor]


def save_pool(path: Path, pool: Pool, own: Mapping[int, Own]) -> None:
    """Write a pool to one file, in one step.

    Args:
        own: of each of its networks.

    Raises:
        SaveError: the file could not be written; an older one is untouched.
    """
    tensors = {f"segment/{number}": value for number, value in pool.segments.items()}
    values: dict[str, dict[str, Any]] = {}
    for number, state in pool.states.items():
        for key, held in state.items():
            if isinstance(held, Tensor):
                tensors[f"state/{number}/{key}"] = held
            else:
                values.setdefault(str(number), {})[key] = held
    for id, one in own.items():
        tensors |= {f"buffer/{id}/{name}": value for name, value in one.buffers.items()}
    networks = {
        str(id): {
            "header": dict(own[id].header),
            "parameters": {
                name: [list(whole.shape), [[piece.segment, _told(piece.at)] for piece in whole.pieces]]
                for name, whole in composition.items()
            },
        }
        for id, composition in pool.networks.items()
    }
    atomic_write(path, lambda file: write_sealed(tensors, file, {"networks": networks, "values": values}))


def load_pool(path: Path) -> tuple[Pool, dict[int, Own]]:
    """Read what `save_pool` wrote.

    Raises:
        PoolError: there is no such file, or it is damaged.
    """
    try:
        tensors, told = read_sealed(path)
        states: dict[int, dict[str, Any]] = {int(number): dict(held) for number, held in told["values"].items()}
        segments: dict[int, Tensor] = {}
        buffers: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            kind, number, *rest = name.split("/", 2)
            if kind == "segment":
                segments[int(number)] = value
            else:
                (states if kind == "state" else buffers).setdefault(int(number), {})[rest[0]] = value
        networks = {int(id): _composition(network["parameters"]) for id, network in told["networks"].items()}
        own = {int(id): Own(network["header"], buffers.get(int(id), {})) for id, network in told["networks"].items()}
        return Pool(segments, states, networks), own
    except FileNotFoundError:
        raise PoolError(f"there is no file {path}") from None
    except FileError as error:
        raise PoolError(str(error)) from error
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise PoolError(f"{path} is no pool of shared weights, or it is damaged: {error!r}") from error


def networks_in(path: Path) -> set[int]:
    """The ids of the networks of a pool's file; its weights are not read.

    Raises:
        PoolError: it is no such file.
    """
    try:
        return {int(id) for id in read_told(path)["networks"]}
    except (FileError, FileNotFoundError, KeyError, TypeError, ValueError) as error:
        raise PoolError(f"{path} is no pool of shared weights, or it is damaged: {error}") from error


def network_in(path: Path, id: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A network of a pool's file as a file of its own would tell it: the header, and all tensors by name.

    Raises:
        PoolError: see `load_pool`; or the network is not in it.
    """
    pool, own = load_pool(path)
    if id not in pool.networks:
        raise PoolError(f"{path} has no network {id}; it has {', '.join(map(str, sorted(pool.networks)))}")
    return dict(own[id].header), assembled(pool.segments, pool.networks[id]) | dict(own[id].buffers)


def save_kept(path: Path, parent: int, kept: Mapping[str, Kept]) -> None:
    """Write which entries a child has of its parent."""
    told = {name: [one.parameter, _told(one.take), _told(one.put)] for name, one in kept.items()}
    write_text(path, json.dumps({"parent": parent, "kept": told}))


def load_kept(path: Path) -> tuple[int, dict[str, Kept]]:
    """The parent's id, and what `save_kept` wrote.

    Raises:
        PoolError: there is no such file, or it is damaged.
    """
    try:
        told = json.loads(path.read_text("utf-8"))
        kept = {name: Kept(of, _places(take), _places(put)) for name, (of, take, put) in told["kept"].items()}
        return int(told["parent"]), kept
    except FileNotFoundError:
        raise PoolError(f"there is no file {path}") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise PoolError(f"{path} does not tell what a child shares, or is damaged: {error!r}") from error


def _composition(told: Mapping[str, Any]) -> dict[str, Whole]:
    return {
        name: Whole(tuple(shape), tuple(Piece(number, _places(at)) for number, at in pieces))
        for name, (shape, pieces) in told.items()
    }


def _told(at: At) -> list[Any]:
    """Along each dimension `{"from": first, "count": number}` of places in a row, or all of them."""
    return [
        {"from": int(places[0]), "count": len(places)}
        if len(places) and bool((places.diff() == 1).all())
        else places.tolist()
        for places in at
    ]


def _places(told: Sequence[Any]) -> At:
    return tuple(
        torch.arange(one["from"], one["from"] + one["count"])
        if isinstance(one, dict)
        else torch.tensor(one, dtype=torch.long)
        for one in told
    )
