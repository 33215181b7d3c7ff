"""Pictures of a source as JPEGs, converted in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import (
    Callable,
    Deque,
    Dict,
    Generator,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from .errors import DataError
from .ofrecord_file import parse_values, read_placed_messages
from .pictures import ImageFacts, convert_bytes, convert_file, convert_pixels
from .processes import end_with_parent
from .sources import Labelled, Picture, StoredPicture
from .writer import Sample

_CHUNK = 64
_CHUNKS_PER_WORKER = 2  # under way; bounds memory

Converted = Union[Sample, str]  # a sentence for a picture that cannot be read
Convert = Callable[[Sequence[Labelled]], List[Converted]]


@contextmanager
def convert_splits(
    splits: Mapping[str, Sequence[Labelled]], quality: int, workers: Optional[int]
) -> Iterator[Dict[str, Iterator[Converted]]]:
    """The samples of each split in order, or a sentence for what cannot be read.

    `workers` are processes; None: one a core. Raises DataError, while it is iterated, where one of
    them dies.
    """
    convert = partial(_convert_chunk, quality=quality)
    processes = workers or len(os.sched_getaffinity(0))
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with OneFlow loaded hangs
    with ExitStack() as stack:
        started = ProcessPoolExecutor(processes, spawn, end_with_parent, (os.getpid(),))
        pool = stack.enter_context(started) if processes > 1 else None
        if pool:  # each call starts a process, so that none is started in the middle of the work
            pool.map(convert, [()] * processes)
        yield {
            name: stack.enter_context(closing(_convert_all(convert, pictures, pool, processes)))
            for name, pictures in splits.items()
        }


def _convert_all(
    convert: Convert,
    pictures: Sequence[Labelled],
    pool: Optional[ProcessPoolExecutor],
    processes: int,
) -> Generator[Converted, None, None]:
    """The samples of the pictures in order, made in this process or in those of a pool."""
    chunks = (pictures[start : start + _CHUNK] for start in range(0, len(pictures), _CHUNK))
    if pool is None:
        for chunk in chunks:
            yield from convert(chunk)
        return
    waiting: Deque[Future[List[Converted]]] = deque()
    try:
        for chunk in chunks:
            waiting.append(pool.submit(convert, chunk))
            if len(waiting) == processes * _CHUNKS_PER_WORKER:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool:
        raise DataError(
            f"a process that converts pictures died, as happens when memory runs out; give less "
            f"than --workers {processes}"
        ) from None
    finally:
        for one in waiting:
            one.cancel()


def _convert_chunk(pictures: Sequence[Labelled], quality: int) -> List[Converted]:
    converted: List[Converted] = []
    for picture, label in pictures:
        try:
            encoded, facts = _convert(picture, quality)
            converted.append(Sample(encoded, label, facts))
        except DataError as error:
            converted.append(str(error))
    return converted


def _convert(picture: Picture, quality: int) -> Tuple[bytes, ImageFacts]:
    if isinstance(picture, str):
        return convert_file(Path(picture), quality)
    if not isinstance(picture, StoredPicture):
        return convert_pixels(picture, quality)
    path = Path(picture.path)
    _, message = next(read_placed_messages(path, picture.offset))
    where = f"{path}: the record at byte {picture.offset}"
    return convert_bytes(parse_values(message, where, *picture.keys)[0], where, quality)
