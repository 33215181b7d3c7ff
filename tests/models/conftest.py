"""Examines the registry's models beside the other tests, in what they leave of the processor.

These are a third of all work and need nothing from the rest: their process starts with the first
test, at the lowest priority, and the tests that ask for the results come last.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import registry_cases

from oneflow_bench.blas_kernel import find_blas_kernel
from oneflow_bench.runtime import create_tuned_variables

WORKERS = 1  # it grows to 9 GB with the largest models, and the other tests need memory too
_TESTS = Path(__file__).with_name("test_whole_registry.py")
_EXAMINED = pytest.StashKey()


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path == _TESTS)  # stable: the others stay in their order


def pytest_collection_finish(session):
    """A future for each model that a chosen test asks for, in the order of the tests."""
    chosen = [item for item in session.items if item.path == _TESTS]
    names = dict.fromkeys(item.callspec.params["case"] for item in chosen)
    if not names or session.config.option.collectonly:
        return
    environment = dict(os.environ)
    variables = create_tuned_variables(environment, find_blas_kernel(sys.executable, environment))
    variables["OMP_NUM_THREADS"] = "1"
    pool = ProcessPoolExecutor(
        WORKERS,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=registry_cases.prepare_process,
        initargs=(variables,),
    )
    futures = {name: pool.submit(registry_cases.examine, name) for name in names}
    session.config.stash[_EXAMINED] = (pool, futures)


def pytest_sessionfinish(session):
    pool, futures = session.config.stash.get(_EXAMINED, (None, {}))
    for future in futures.values():
        future.cancel()
    if pool is not None:
        for process in list(pool._processes.values()):  # the tests may end before their work
            process.terminate()
        pool.shutdown()


@pytest.fixture(scope="session")
def examined(request):
    """Name of a model -> the future of its `registry_cases.Result`."""
    return request.config.stash[_EXAMINED][1]
