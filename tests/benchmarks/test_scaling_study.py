"""The calculated scaling of three models, from made-up profiles."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from scaling_study import MODELS, MODES, RANKS, main

from oneflow_bench.bench.errors import RecordError, WorkerError
from oneflow_bench.bench.record.run import write_atomically
from oneflow_bench.bench.tools.profile.document import LayerProfile, ProfileDocument, StepParts

LAYER = LayerProfile(
    name="fc",
    kind="Linear",
    calls=1,
    output_shape=[4, 1000],
    num_params=1_000_000,
    param_sizes=[1_000_000],
    forward_s=[0.1],
    backward_s=[0.2],
    starts_s=[0.0],
    spans_s=[0.1],
)


class Bench:
    """`bench` with made-up profiles; fails for `broken` and is ended at `ended`."""

    def __init__(self, broken=None, ended=None):
        self.profiled, self.broken, self.ended = [], broken, ended

    def __call__(self, arguments):
        assert arguments[0] == "profile"
        given = dict(zip(arguments[1::2], arguments[2::2]))
        model, mode, folder = given["--model"], given["--mode"], Path(given["--out"])
        if model == self.ended:
            raise KeyboardInterrupt
        self.profiled.append((model, mode))
        if model == self.broken:
            raise WorkerError("bench profile ended with 4: error: it died")
        folder.mkdir(parents=True)
        parts = StepParts(
            step_s=[1.0], forward_s=[0.3], loss_s=[0.1], backward_s=[0.4], update_s=[0.2]
        )
        document = ProfileDocument(
            model=model,
            mode=mode,
            batch_size=4,
            image_size=224,
            iterations=1,
            created="2026-01-01T00:00:00+00:00",
            machine={},
            environment={},
            layers=[LAYER],
            parts=parts,
            profiled_step_s=[1.1],
        )
        write_atomically(folder / "profile.json", document.model_dump_json())
        return ""


@pytest.fixture
def study(tmp_path):
    """Run the study with a made-up `bench`; gives its exit status."""
    return lambda bench, *words: main([*words, "--out", str(tmp_path)], bench)


@pytest.mark.slow
def test_each_model_is_profiled_once_in_both_modes(study, tmp_path, capsys):
    bench = Bench()
    assert study(bench) == 0
    assert bench.profiled == [(model, mode) for model in MODELS for mode in MODES]
    printed = capsys.readouterr().out
    assert study(bench, "report") == study(bench) == 0
    assert len(bench.profiled) == 6
    assert (tmp_path / "table.md").read_text() in printed
    documents = json.loads((tmp_path / "scaling.json").read_text())
    slow, fast = documents["10 Gbit/s, 50 us"], documents["100 Gbit/s, 10 us"]
    assert [found["ranks"] for found in slow[0]["predictions"]] == list(RANKS)
    for one, other in zip(slow, fast):
        weak = [found["predictions"][-1]["weak"]["overlap"] for found in (one, other)]
        assert weak[0]["efficiency"] < weak[1]["efficiency"] <= 1
    # 4 MB over 8 ranks at 1.25 GB/s: 2 x 7 latencies and 2 x 7/8 of the bytes
    exposed = slow[0]["predictions"][2]["weak"]["no_overlap"]["exposed_s"]
    assert exposed == pytest.approx(14 * 5e-5 + 1.75 * 4e6 / 1.25e9)
    assert f"({1 / (1 + exposed):.2f})" in printed
    assert (tmp_path / "efficiency.png").stat().st_size > 10_000


def test_a_model_that_fails_is_left_out_and_an_end_loses_nothing(study, capsys):
    assert study(Bench(broken="alexnet", ended="vgg16")) == 130
    assert "what was finished is stored" in capsys.readouterr().err
    bench = Bench()
    assert study(bench) == 0
    assert bench.profiled == [("vgg16", mode) for mode in MODES]
    table = capsys.readouterr().out
    assert "| resnet50 | graph |" in table and "| alexnet |" not in table


def test_nothing_stored_and_a_lost_profile_are_said(study, tmp_path, capsys):
    assert study(Bench(), "report") == 0
    assert "no profile is stored" in capsys.readouterr().out
    assert study(Bench()) == 0
    shutil.rmtree(tmp_path / "profiles")
    assert study(Bench(), "report") == RecordError.exit_status
    assert "error: no profile at" in capsys.readouterr().err
