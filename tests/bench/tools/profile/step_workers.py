"""Made-up workers of OneFlow and PyTorch that train and are timed."""

from __future__ import annotations

from contextlib import closing

from oneflow_bench.bench.config import Contender, Workload
from oneflow_bench.bench.tools.profile.steps import Fleet, TorchStart

START = TorchStart("w.npz", "i.npz", [])


class Worker:
    """A step takes `step_s`; `answers` replaces the answer to a call, an exception is raised."""

    def __init__(self, name, log, step_s, answers):
        self.name, self.log, self.step_s, self.answers = name, log, step_s, answers
        self.closed = self.killed = False

    def ask(self, call, timeout_s, **request):
        self.log.append((self.name, call, request))
        given = self.answers.get((self.name, call))
        if isinstance(given, BaseException):
            raise given
        if given is not None:
            return given
        return getattr(self, call)(request)

    def prepare(self, request):
        return {"environment": {"oneflow": "0.9.0"}}

    def setup(self, request):
        return {"torch": "2.0", "threads": 2}

    def disable_dropout(self, request):
        return {"layers": 2}

    def export(self, request):
        return {"aux_weights": [0.3]}

    def compile(self, request):
        return {"compile_s": 3.0} if "torch" in self.name else {"compile_train_s": 0.5}

    def measure(self, request):
        return {"duration_s": request["steps"] * self.step_s}

    def train(self, request):
        return {"losses": [2.0 / (1 + n) for n in range(request["steps"])]}

    def end(self, request):
        return {}

    def kill(self):
        self.killed = not self.closed

    def close(self):
        self.closed = True


class Workers:
    def __init__(self, answers=None, times=None):
        self.answers, self.times = answers or {}, times or {}
        self.started, self.log = [], []

    def start(self, name):
        step_s = next((t for key, t in self.times.items() if name.endswith(key)), 0.1)
        self.started.append(Worker(name, self.log, step_s, self.answers))
        return self.started[-1]

    def fleet(self, modes=("eager", "graph"), torch=True, workload=None):
        return Fleet(
            workload or Workload(),
            [Contender(name=mode, mode=mode) for mode in modes],
            lambda contender: self.start(contender.name),
            self.start if torch else None,
            5.0,
            lambda *_: None,
        )

    def run(self, function, *arguments, **fleet):
        """The result of `function` with a fleet, which is closed afterwards."""
        with closing(self.fleet(**fleet)) as opened:
            return function(opened, *arguments)
