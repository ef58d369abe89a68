"""Images that cannot be read: found before training begins, counted, named, and left out if so many may be."""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from netmorph.data.dataset import DataError
from netmorph.data.encoded import Listing
from netmorph.data.reading import CHUNK, Request, Workers
from netmorph.files import SaveError, write_text
from netmorph.wording import listed

SHOWN = 3  # names in a message


def without_unreadable(listing: Listing, workers: Workers, kept: Path, most: int) -> Listing:
    """The images that can be read; a warning counts and names the others.

    All are read once, which also fills the cache of decoded ones. What was found is kept, so that the next run, and the
    other processes of this one, look again only at those that could not be read.

    Args:
        workers: read the listing's images.
        kept: file of what was found, JSON: the images' rows and why each cannot be read.
        most: how many may be left out.

    Raises:
        DataError: more cannot be read; it tells how many, and the first of them.
    """
    state = hashlib.sha256(listing.state.encode(errors="surrogateescape")).hexdigest()
    known = _kept(kept, state)
    every = torch.arange(len(listing.labels)) if known is None else torch.tensor([*known], dtype=torch.long)
    found = dict(_failures(every, workers))
    if found != known:
        _keep(kept, state, found)
    if not found:
        return listing
    names = listed([listing.images.place(row) for row in found], limit=SHOWN)
    told = f"{len(found)} of {len(listing.labels)} images cannot be read"
    first = next(iter(found.values()))
    if len(found) > most:
        raise DataError(
            f"{told}, and at most {most} may be left out: {names} (the first: {first}). Replace or remove them, or "
            f"raise skip_unreadable (--skip-unreadable); {kept} tells of each why"
        )
    warnings.warn(f"{told}, and are left out: {names}; {kept} tells of each why", stacklevel=3)
    readable = torch.ones(len(listing.labels), dtype=torch.bool)
    readable[[*found]] = False
    rows = {part: own[readable[own]] for part, own in listing.rows.items()}
    return replace(listing, rows=rows, state=f"{listing.state} without {[*found]}")


def _failures(rows: Tensor, workers: Workers) -> Iterator[tuple[int, str]]:
    """The rows that cannot be read, ascending, and why."""
    chunks = rows.split(CHUNK)
    for chunk, images in zip(chunks, workers.attempts(Request(chunk.tolist(), None) for chunk in chunks), strict=True):
        if isinstance(images, DataError):  # of one of them, and there may be more
            singly = workers.attempts((Request([row], None) for row in chunk.tolist()), here=True)
            tried = zip(chunk.tolist(), singly, strict=True)
            yield from ((row, str(image)) for row, image in tried if isinstance(image, DataError))


def _kept(path: Path, state: str) -> Mapping[int, str] | None:
    """What an earlier run found in the same files; None where there is nothing that can be used."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return {int(row): str(why) for row, why in told["unreadable"].items()} if told["state"] == state else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _keep(path: Path, state: str, found: Mapping[int, str]) -> None:
    try:
        write_text(path, json.dumps({"state": state, "unreadable": found}, indent=1))
    except SaveError as error:
        warnings.warn(f"all images are read again by the next run: {error}", stacklevel=4)
