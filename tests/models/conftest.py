"""Examines the registry's models in processes of their own, after all other tests.

Not beside them: a busy machine makes OneFlow's race between a graph's launch and its end more
likely (benchmarks/launch_race.py), and other tests call small graphs in this very process.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path

import pytest
import registry_cases

from oneflow_bench.bench.worker.blas_kernel import find_blas_kernel
from oneflow_bench.bench.worker.environment import create_tuned_variables

PROCESSES = 2
MODELS_OF_A_PROCESS = 6  # OneFlow keeps what it has had: 15 GB after all models in one process
LONGEST_WAIT_S = 280  # for a model; an aborted process answers never
_TESTS = Path(__file__).with_name("test_whole_registry.py")
_EXAMINED = pytest.StashKey()


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path == _TESTS)  # stable: the others stay in their order


def _begin(session):
    """Begin with the models that the chosen tests ask for, in their order."""
    chosen = [item for item in session.items if item.path == _TESTS]
    names = dict.fromkeys(item.callspec.params["case"] for item in chosen)
    environment = dict(os.environ)
    variables = create_tuned_variables(environment, find_blas_kernel(sys.executable, environment))
    variables["OMP_NUM_THREADS"] = "1"
    pool = multiprocessing.get_context("spawn").Pool(
        PROCESSES, registry_cases.prepare_process, (variables,), MODELS_OF_A_PROCESS
    )
    results = {name: pool.apply_async(registry_cases.examine, (name,)) for name in names}
    session.config.stash[_EXAMINED] = pool
    return results


def pytest_sessionfinish(session):
    pool = session.config.stash.get(_EXAMINED, None)
    if pool is not None:
        pool.terminate()  # the tests may end before its work
        pool.join()


@pytest.fixture(scope="session")
def examined(request):
    """Name of a model -> its `registry_cases.Result`, which is waited for."""
    results = _begin(request.session)
    return lambda name: results[name].get(LONGEST_WAIT_S)
