"""Doctor's workers without processes: they answer at once, and a clock moves as they do."""

from __future__ import annotations

from doctor_measurements import OPERATORS_S, create_block, create_identity, create_import
from doctor_measurements import create_threads as threads
from fakes import Clock

from oneflow_bench.bench.worker.environment import RuntimeResolver

STEP_S = 0.03
PRODUCTS_S = {"examined": [0.01, 0.02], "preloaded": [0.005, 0.01]}


class FakeDoctorWorker:
    """Answers every call; `fail` = {call: error or answer} goes before that."""

    def __init__(self, name, environment, clock, steps_s, fail):
        self.name, self.environment = name, environment
        self._clock, self._step_s, self._fail = clock, steps_s.get(name, STEP_S), fail
        self._sent = []
        self.calls = []

    def send(self, call, **arguments):
        self._sent.append(call)
        self.calls.append(call)

    def receive(self, call, timeout_s):
        assert self._sent.pop(0) == call and timeout_s >= 0
        self._clock.now += 0.1
        if call in self._fail:
            if isinstance(self._fail[call], Exception):
                raise self._fail[call]
            return self._fail[call]
        return self._answer(call)

    def ask(self, call, timeout_s, **arguments):
        self.send(call, **arguments)
        return self.receive(call, timeout_s)

    def _answer(self, call):
        return {
            "identify": create_identity().model_dump(),
            "import_oneflow": create_import().model_dump(exclude={"log_tail"}),
            "build_model": {},
            "measure_numpy_product": {"flops_per_s": 1e11},
            "measure_matrix_product": {"flops_per_s": 9e10},
            "measure_reduction": threads().model_dump(),
            "measure_operators": {"operators_s": OPERATORS_S},
            "measure_products": {"times_s": PRODUCTS_S.get(self.name)},
            "measure_train_steps": create_block(self._step_s).model_dump(),
            "measure_memory": {"page_fault_s": 1e-7, "peak_rss_bytes": 400 << 20},
        }[call]

    def read_log_tail(self):
        return ""

    def kill(self):
        pass

    def close(self):
        pass


class FakeDoctor:
    """A launcher that keeps its workers, by name in the order of their start."""

    def __init__(self, steps_s=None, fail=None):
        self.clock, self.workers, self.order = Clock(), {}, []
        self._steps_s, self._fail = steps_s or {}, fail or {}

    def launch(self, name, environment):
        self.workers[name] = FakeDoctorWorker(
            name, environment, self.clock, self._steps_s, self._fail.get(name, {})
        )
        self.order.append(name)
        return self.workers[name]


class FakeResolver(RuntimeResolver):
    """A BLAS that takes `stock` unless OPENBLAS_CORETYPE says otherwise; sets what tuned does."""

    def __init__(self, base, stock="Barcelona"):
        super().__init__(base)
        self._stock = stock

    def _ask_kernel(self, python, environment):
        return environment.get("OPENBLAS_CORETYPE", self._stock)
