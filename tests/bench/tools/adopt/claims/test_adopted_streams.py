"""Random sources, iterators and readers that go on from epoch to epoch are refused."""

from __future__ import annotations

import pytest

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.tools.adopt.run import adopt

SCRIPT = """import numpy as np
import oneflow as flow
from oneflow import nn
{made}
model = nn.Linear(3, 2)
opt = flow.optim.SGD(model.parameters(), lr=0.1)
data = np.ones((8, 3))
for epoch in range(4):
    rows = {rows}
    for i in range(2):
        x = {batch}
        loss = model(x).sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
"""
SOURCE = "rng = np.random.default_rng(0)"
DRAWING = f"{SOURCE}\ndef draw(): return rng.integers(0, 8, 4)"
READER = """
class Reader(nn.Module):
    def __init__(self):
        self.reader = flow.nn.OFRecordReader('.')
    def forward(self): return self.reader()
reader = Reader()
"""
COUNTER = """
class Reader:
    def __init__(self): self.place = 0
    def take(self):
        self.place += 4
        return flow.ones(4, 3) * self.place
reader = Reader()
"""
NOISY = """
class Noisy:
    def __init__(self, rng): self.rng = rng
    def __getitem__(self, i): return self.rng.normal(size=3)
rng = np.random.default_rng(0)
noisy = Noisy(rng)
"""
MADE_ONCE = """
class Data:
    def __init__(self, rng):
        self.rows, self.count = rng.normal(size=(8, 3)), 0
    def __iter__(self):
        self.place = 0
        return self
    def __getitem__(self, i):
        self.place += 1
        return self.rows[i]
rng = np.random.default_rng(0)
drawn = Data(rng)
"""
WHOLE = "flow.tensor(data[rows])"


@pytest.mark.parametrize(
    "made, rows, batch, message",
    [
        (SOURCE, "rng.permutation(8)", WHOLE, "line 4: rng is used up or goes on"),
        (SOURCE, "0", "flow.tensor(data[rng.integers(0, 8, 4)])", "line 4: rng is"),
        (DRAWING, "0", "flow.tensor(data[draw()])", "line 4: rng is"),
        ("read = flow.nn.OFRecordReader('.')", "0", "read()", "line 4: read is"),
        (READER, "0", "reader()", "line 9: reader is"),
        (COUNTER, "0", "reader.take()", "line 10: reader is"),
        (NOISY, "0", "flow.tensor(noisy[i])", "line 9: noisy is"),
    ],
)
def test_what_goes_on_from_epoch_to_epoch_is_refused(tmp_path, made, rows, batch, message):
    (tmp_path / "mine.py").write_text(SCRIPT.format(made=made, rows=rows, batch=batch))
    with pytest.raises(InputError, match=message):
        adopt(tmp_path / "mine.py", tmp_path)


@pytest.mark.parametrize(
    "made, rows, batch",
    [
        (MADE_ONCE, "0", "flow.tensor(drawn[i])"),
        (f"{SOURCE}\ntable = rng.normal(size=(8, 3))", "0", "flow.tensor(table[i])"),
        ("", "np.random.permutation(8)", WHOLE),
        ("size = [1, 2].count(1)", "0", "flow.ones(size, 3)"),
    ],
)
def test_data_that_are_drawn_once_are_no_stream(tmp_path, made, rows, batch):
    (tmp_path / "mine.py").write_text(SCRIPT.format(made=made, rows=rows, batch=batch))
    adopt(tmp_path / "mine.py", tmp_path)
