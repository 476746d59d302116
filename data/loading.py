"""Preparing the next batches while the current one computes.

Threads gather the rows of a batch from the columns; the features follow on the training device.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

Spec = TypeVar("Spec")
Prepared = TypeVar("Prepared")


class Prefetcher(Generic[Spec, Prepared]):
    """Applies `prepare` to specifications ahead of their use, in order.

    With `num_workers` 0 everything happens when it is asked for. Threads, not processes: the
    gathering is a few array operations that release the interpreter's lock.
    """

    def __init__(
        self,
        prepare: Callable[[Spec], Prepared],
        num_workers: int,
        prefetch_factor: int,
        persistent_workers: bool = False,
    ) -> None:
        self.prepare = prepare
        self.num_workers = num_workers
        self.ahead = max(1, num_workers * prefetch_factor)
        self.persistent_workers = persistent_workers
        self._pool: ThreadPoolExecutor | None = None

    def __call__(self, specs: Sequence[Spec]) -> Iterator[Prepared]:
        """Yields the prepared form of each specification, in order."""
        if self.num_workers == 0:
            yield from map(self.prepare, specs)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="batch")
        pending: deque[Future[Prepared]] = deque()
        upcoming = iter(specs)
        try:
            for spec in upcoming:
                pending.append(self._pool.submit(self.prepare, spec))
                if len(pending) >= self.ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
            if not self.persistent_workers:
                self.close()

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def __enter__(self) -> Prefetcher[Spec, Prepared]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
