"""Read images in worker processes: decode, shrink, crop, resize, in the asked order and a few chunks ahead."""

import multiprocessing
import os
import threading
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as MapDataset

from netmorph.data.crops import centre_crop, crop, random_crop, resize, shrunk_size
from netmorph.data.dataset import DataError
from netmorph.data.encoded import Encoded
from netmorph.data.image_cache import ImageCache
from netmorph.data.images import ImageSize, decode_image

# Images that a worker reads at a time: what is read ahead stays small however large a batch is.
CHUNK = 64


class Request(NamedTuple):
    """Images to read together: rows of the listing, and the seed of their crops (None: the middle)."""

    rows: list[int]
    seed: int | None


class Chunk(NamedTuple):
    """What a request gave: images uint8 [B, 3, H, W] or why there are none; and why the cache is no longer written."""

    images: Tensor | DataError
    trouble: str | None


class Reader(MapDataset[Chunk]):
    """Reads images where they lie, or from the cache, which it fills.

    Args:
        images: encoded.
        cache: of decoded ones; None keeps none.
        size: of the images it gives.
        short_side: of the shrunk images, in pixels.
    """

    def __init__(self, images: Encoded, cache: ImageCache | None, size: ImageSize, short_side: int) -> None:
        self.size = size
        self._images = images
        self._cache = cache
        self._short_side = short_side

    def __getitem__(self, request: Request) -> Chunk:
        """The images of a request. An error is a value: raised in a worker it would lose its own words."""
        images = torch.empty(len(request.rows), 3, *self.size, dtype=torch.uint8)
        try:
            for place, row in enumerate(request.rows):
                images[place] = self._view(row, request.seed).permute(2, 0, 1)
        except DataError as error:
            return Chunk(error, None)
        return Chunk(images, None if self._cache is None else self._cache.trouble)

    def _view(self, row: int, seed: int | None) -> Tensor:
        image = self._shrunk(row)
        height, width = image.shape[:2]
        if seed is None:
            box = centre_crop((height, width), self.size)
        else:
            box = random_crop((height, width), np.random.default_rng((seed, row)))
        return resize(crop(image, box), self.size)

    def _shrunk(self, row: int) -> Tensor:
        found = None if self._cache is None else self._cache.read(row)
        if found is not None:
            return found
        image = self._decode(row)
        if self._cache is not None:
            self._cache.write(row, image)
        return image

    def _decode(self, row: int) -> Tensor:
        wanted: ImageSize = (0, 0)

        def read(image: Any, _: str) -> Any:
            nonlocal wanted
            wanted = shrunk_size((image.height, image.width), self._short_side)
            image.draft(None, (wanted[1], wanted[0]))  # JPEG: decodes a half, a quarter or an eighth if that is enough
            return image if image.mode == "RGB" else image.convert("RGB")

        pixels = decode_image(self._images.place(row), self._images.read(row), read)
        return resize(torch.from_numpy(pixels), wanted)


class _Tasks:
    """What a loader asks its workers for: another list in each pass."""

    def __init__(self) -> None:
        self.now: Iterable[Request] = ()

    def __iter__(self) -> Iterator[Request]:
        return iter(self.now)


class Workers:
    """Processes that read images, started when they are first needed and kept for the next pass.

    Args:
        reader: what each of them gets a copy of.
        count: of the processes; 0 reads in this one, and so does a process that may not start others.
    """

    def __init__(self, reader: Reader, count: int) -> None:
        self._reader = reader
        self._count = count
        self._idle: list[tuple[_Tasks, DataLoader[Chunk]]] = []
        self._warned = False

    def __reduce__(self) -> tuple[type["Workers"], tuple[Reader, int]]:
        return Workers, (self._reader, self._count)  # each process starts its own

    def read(self, requests: Iterable[Request], *, here: bool = False) -> Iterator[Tensor]:
        """The images of each request, in order.

        Args:
            here: in this process, whatever the count.

        Raises:
            DataError: an image cannot be read, or a worker died.
        """
        for images in self.attempts(requests, here=here):
            if isinstance(images, DataError):
                raise DataError(f"{images}; or leave out what cannot be read: skip_unreadable (--skip-unreadable)")
            yield images

    def attempts(self, requests: Iterable[Request], *, here: bool = False) -> Iterator[Tensor | DataError]:
        """What `read` gives; of a request with images that cannot be read, what is wrong with the first of them.

        Raises:
            DataError: a worker died.
        """
        here = here or self._count == 0 or multiprocessing.current_process().daemon
        for images, trouble in map(self._reader.__getitem__, requests) if here else self._pass(requests):
            if trouble is not None and not self._warned:
                self._warned = True
                warnings.warn(f"images that are not yet kept are decoded in every epoch: {trouble}", stacklevel=2)
            yield images

    def _pass(self, requests: Iterable[Request]) -> Iterator[Chunk]:
        # A second pass beside one that has not ended gets workers of its own.
        sampler, loader = self._idle.pop() if self._idle else self._start()
        sampler.now = requests
        try:
            yield from loader
        except RuntimeError as error:  # these workers are not used again
            raise DataError(
                f"reading images in worker processes failed: {error}. If memory ran out, use fewer workers. A script "
                'that starts workers needs `if __name__ == "__main__":` around what it does, or workers=0'
            ) from error
        except GeneratorExit:  # nobody wants the rest
            self._idle.append((sampler, loader))
            raise
        self._idle.append((sampler, loader))

    def _start(self) -> tuple[_Tasks, DataLoader[Chunk]]:
        # Threads make plain forks unsafe; a server that has imported this module forks workers in milliseconds.
        server = "forkserver" in multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if server else "spawn")
        context.set_forkserver_preload(["__main__", "PIL.Image", __name__])
        sampler = _Tasks()
        loader = DataLoader(
            self._reader,
            batch_size=None,
            sampler=sampler,
            num_workers=self._count,
            collate_fn=_as_it_is,
            worker_init_fn=_end_with_reader,
            multiprocessing_context=context,
            persistent_workers=True,
            generator=torch.Generator(),  # the caller's random state is not used
        )
        return sampler, loader


def _end_with_reader(_: int) -> None:
    """Let this worker end when the process that reads is killed; PyTorch looks at the server's id, which goes on."""
    reader = multiprocessing.parent_process()

    def wait() -> None:
        if reader is not None:
            reader.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _as_it_is(chunk: Any) -> Any:
    return chunk
