"""The calculation as a user runs it; in this process, since it starts no worker."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from calculate_scaling import main
from scaling_records import create_layer, create_profile

from oneflow_bench.bench.tools.profile.document import GraphFacts

LINK = ["--bandwidth", "1000", "--latency", "0.001"]


def call(arguments):
    try:
        return main(arguments)
    except SystemExit as ended:  # of the parser of options
        return ended.code


@pytest.fixture
def run(capsys, tmp_path):
    """Runs the command on a made-up profile; (exit status, stdout, stderr)."""

    def run_command(*arguments, profile=None):
        path = tmp_path / "profile.json"
        path.write_text((profile or create_profile()).model_dump_json())
        status = call(["--profile", str(path), *map(str, arguments)])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run_command


def test_the_tables_and_what_they_assume(run):
    status, out, _ = run(*LINK, "--ranks", "1,2,1024", "--bucket-parameters", "1")
    assert status == 0
    assert "Calculated, not measured: made, eager DDP" in out
    assert "buckets: 3 (1 parameter a bucket)" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["1", "1000.00", "0.000", "1.00", "100.0", "%", "100.0", "%"] in rows
    # ready at 0.5, 0.5, 0.8 s; the last takes 2 messages and 1200 bytes: 1.202 s after 0.920 s
    assert ["2", "2322.00", "1322.00", "0.86", "43.1", "%", "38.1", "%"] in rows
    assert ["1,024", "-", "-", "-", "-", "-"] in rows
    assert "these ranks do not divide 8 images" in out
    assert "the floor is not given and taken as 0" in " ".join(out.split())


def test_the_document(run):
    status, out, _ = run(*LINK, "--json", "--ranks", "2,8", "--floor", "0.2")
    document = json.loads(out)
    assert status == 0
    assert document["gradient_bytes"] == 4 * 404
    assert document["bucket_rule"] == {"parameters": 10, "size_bytes": None}
    assert [one["ranks"] for one in document["predictions"]] == [2, 8]
    assert document["predictions"][0]["weak"]["overlap"]["step_time_s"] == pytest.approx(2.618)
    assert any("the floor is 0.2 s" in sentence for sentence in document["assumptions"])


def test_graph_mode_reduces_each_gradient_by_itself(run):
    graph = GraphFacts(compile_s=1.0, ops_built={}, ops_compiled={}, step_s=[0.9])
    profile = create_profile(mode="graph").model_copy(update={"graph": graph})
    status, out, _ = run(*LINK, profile=profile)
    assert status == 0
    assert "graph data parallel" in out and "buckets: 3 (each parameter by itself)" in out
    assert "in the eager step's proportions" in " ".join(out.split())


def test_a_link_fitted_to_measured_all_reduces(run, tmp_path):
    path = tmp_path / "two.json"
    samples = [{"size_bytes": size, "time_s": 0.002 + size / 1000} for size in (10, 100, 1000)]
    path.write_text(json.dumps({"schema_version": 1, "ranks": 2, "samples": samples}))
    status, out, _ = run("--all-reduce", path)
    assert status == 0
    assert "latency 1,000 us, bandwidth 0.001 MB/s" in out
    assert "fitted to 3 all-reduces between 2 ranks" in out
    assert "worst miss 0.0 %" in out
    status, _, err = run("--all-reduce", path, *LINK)
    assert status == 2 and "--all-reduce was given with --bandwidth" in err


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "no link was given; give --bandwidth"),
        (["--latency", "1e-5"], "no link was given"),
        (["--bandwidth", "0"], "--bandwidth 0 is no bandwidth"),
        (["--bandwidth", "-5"], "--bandwidth -5 is no bandwidth"),
        (["--bandwidth", "inf"], "--bandwidth inf is no bandwidth"),
        (["--bandwidth", "1", "--latency", "-1"], "--latency -1 is no latency"),
        ([*LINK, "--ranks", "0"], "0 is not a whole number of 1 or more"),
        ([*LINK, "--ranks", "2,x"], "is not a whole number"),
        ([*LINK, "--ranks", "2,1.5"], "is not a whole number"),
        ([*LINK, "--ranks", "6", "--algorithm", "tree"], "6 ranks were given with the algorithm"),
        ([*LINK, "--floor", "2"], "--floor 2 is not between"),
        ([*LINK, "--bucket-bytes", "0", "--bucket-parameters", "3"], "were both given"),
        (["--all-reduce", "nowhere.json"], "no file of all-reduces at nowhere.json"),
    ],
)
def test_bad_input_is_one_sentence(run, arguments, words):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert words in err and "Traceback" not in err


def test_a_profile_without_backward_times_is_refused(run):
    profile = create_profile([create_layer("only", None, [3])])
    status, _, err = run(*LINK, profile=profile)
    assert status == 2 and "--profile has no backward times" in err


@pytest.mark.parametrize("content", [None, "no json", "[]", '{"schema_version": 1}'])
def test_a_file_that_is_no_profile_is_refused(capsys, tmp_path, content):
    path = tmp_path / "other.json"
    if content is not None:
        path.write_text(content)
    status = call(["--profile", str(path), *LINK])
    err = capsys.readouterr().err
    assert status == 2
    assert err.startswith("error: ") and str(path) in err


PAGE = Path(__file__).resolve().parents[2] / "results" / "scaling" / "README.md"
COMMANDS = re.findall(
    r"^python benchmarks/calculate_scaling.py (.*)$", PAGE.read_text(), re.MULTILINE
)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_its_page_work(tmp_path, monkeypatch, capsys, command):
    """On a made-up profile and made-up all-reduces where the page measures them."""
    monkeypatch.chdir(tmp_path)
    Path("lenet-eager").mkdir()
    Path("lenet-eager/profile.json").write_text(create_profile().model_dump_json())
    samples = [{"size_bytes": size, "time_s": 0.002 + size / 1000} for size in (10, 100, 1000)]
    Path("two-ranks.json").write_text(
        json.dumps({"schema_version": 1, "ranks": 2, "samples": samples})
    )
    assert call(command.split()) == 0
    assert "Calculated, not measured" in capsys.readouterr().out


def test_the_page_has_commands():
    assert len(COMMANDS) == 3
