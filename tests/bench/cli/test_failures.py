"""The ends of the program that are no success: one sentence, a status of its own, no traceback."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from functools import partial

import click
import pytest
from fakes import create_document
from records import create_events, create_record
from rich.markup import MarkupError
from sweep_cells import create_mixed_sweep

from oneflow_bench.bench import cli
from oneflow_bench.bench.cli import failures
from oneflow_bench.bench.cli.console import Console, ProgressBar
from oneflow_bench.bench.cli.run import write_comparisons, write_report
from oneflow_bench.bench.cli.sweep import _write_reports
from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.record.run import RecordWriter, create_run_id
from oneflow_bench.bench.report import pictures
from oneflow_bench.bench.report.before_after import compare_record
from oneflow_bench.bench.report.compare import build_run_report
from oneflow_bench.bench.report.comparison import summarize_contender

EXPORT = ["export", "--format", "csv"]
COMMAND = [sys.executable, "-m", "oneflow_bench"]


def run(*words, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 60, **options}
    return subprocess.run([*COMMAND, *words], check=False, **options)


def test_an_unforeseen_error_is_status_70_and_its_traceback_is_in_a_file(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(failures.tempfile, "tempdir", str(tmp_path))

    def fail(context):
        raise KeyError("no\nsuch key")

    monkeypatch.setattr(cli.bench, "invoke", fail)
    assert cli._run(["models"]) == 70
    (stored,) = tmp_path.iterdir()
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Traceback" not in said
    assert str(stored) in said and "KeyError" in said and "report it" in said
    assert "in fail" in stored.read_text() and "oneflow-bench" in stored.read_text()
    monkeypatch.setattr(failures.tempfile, "tempdir", str(tmp_path / "missing"))
    assert cli._run(["models"]) == 70
    assert "could not be stored: No such file" in capsys.readouterr().err


def test_a_terminal_obeys_no_name_in_a_message(capsys):
    assert failures.tell(InputError("no run \x1b]0;owned\x07 in bar\udce9\n")) == 2
    assert capsys.readouterr().err == "error: no run ]0;owned in bar\\udce9\n\n"


@pytest.mark.parametrize("words", [["models"], ["--help"]])
@pytest.mark.parametrize("target", ["/dev/full", "closed pipe"])
def test_output_that_nobody_takes_is_one_sentence(words, target):
    if target == "closed pipe":
        read, write = os.pipe()
        os.close(read)
    else:
        write = os.open(target, os.O_WRONLY)
    done = run(*words, stdout=write)
    os.close(write)
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: standard output or a file cannot be written (")
    assert done.stderr.count(b"\n") == 1


def test_a_command_runs_with_its_output_closed(tmp_path):
    for closed in (">&-", ">&- 2>&-", "<&-"):
        line = f'"{sys.executable}" -m oneflow_bench models lenet {closed}'
        done = subprocess.run(
            ["sh", "-c", line], capture_output=True, env={**os.environ, "TMPDIR": str(tmp_path)}
        )
        assert (done.returncode, done.stderr) == (0, b"")
    assert list(tmp_path.iterdir()) == []  # no traceback is stored


def test_a_message_that_quotes_a_long_value_is_cut(capsys):
    assert cli.tell(InputError("x" * 100_000)) == 2
    assert len(capsys.readouterr().err) < 3000


def test_a_name_that_the_output_cannot_show_is_no_traceback():
    environment = {"PATH": os.environ["PATH"], "PYTHONIOENCODING": "ascii"}
    done = run("plot", "r\u00e4d", env=environment)
    assert done.returncode == 2 and done.stderr.startswith(b"error: no record at r")
    done = run(b"plot", b"\xc4\xe3")  # GBK
    assert done.returncode == 2 and b"is not text in utf-8; rename" in done.stderr


@pytest.mark.parametrize("words", [["plot", ""], ["models", "--json="], ["eager", "--out", ""]])
def test_an_empty_value_is_not_taken_for_none(words, capsys):
    assert cli._run(words) == 2
    assert "an empty value was given" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, said",
    [
        (["compare", "--no-speed", "--budget", "3"], "--budget steers the speed phase"),
        (["compare", "--contender", "graph,name=eager"], "called eager, which is another mode"),
        (["eager", "--epochs", "1" + "0" * 20], "above 10,000,000; give less"),
        (["eager", "--data", "synthetic", "--steps-per-epoch", "1" + "0" * 20], "give less"),
    ],
)
def test_flags_that_cannot_be_meant_are_refused(words, said, capsys):
    assert cli._run(words) == 2
    assert said in capsys.readouterr().err


def test_a_stored_run_that_has_nothing_to_compare_is_refused(tmp_path, capsys):
    for name, modes in (("one", ["eager"]), ("two", ["eager", "grpah"])):
        document = create_document(tuple(modes))
        document.contenders = [Contender(name=mode, mode=mode) for mode in modes]
        writer = RecordWriter(tmp_path / name, document)
        writer.append(*create_events("eager", blocks=1))
        writer.close()
    assert cli._run(["compare", str(tmp_path / "one"), str(tmp_path / "one")]) == 2
    assert "has one contender, eager" in capsys.readouterr().err
    two = str(tmp_path / "two")
    for words in (["compare", str(tmp_path / "one")], ["plot"], ["history"], EXPORT):
        assert cli._run([*words, two]) == 2
        assert "the mode grpah, which is not known here" in capsys.readouterr().err


def test_two_runs_of_the_same_second_have_folders_of_their_own():
    assert len({create_run_id("compare", "lenet") for _ in range(5)}) > 1


def test_a_wrong_command_lists_the_right_ones(capsys):
    assert cli._run(["foo"]) == 2
    said = capsys.readouterr().err
    assert "no command foo" in said and all(name in said for name in cli.COMMANDS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_first_imports_ends_in_a_sentence(tmp_path, number):
    (tmp_path / "click.py").write_text(
        "print('importing', flush=True)\nimport time; time.sleep(100)"
    )
    running = subprocess.Popen(
        [sys.executable, "-m", "oneflow_bench", "models"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert running.stdout.readline() == "importing\n"
    running.send_signal(number)
    _, said = running.communicate(timeout=120)
    assert (running.returncode, said) == (130, "ended by the user\n")


def test_a_signal_during_a_later_import_waits_for_its_end(tmp_path):
    (tmp_path / "slow.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint('imported', flush=True)\n"
    )
    script = (
        "import time\n"
        "from oneflow_bench.bench.cli.failures import end_on_signals\n"
        "end_on_signals()\n"
        "try:\n    import slow; time.sleep(100)\n"
        "except KeyboardInterrupt:\n    print('ended')"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["imported", "ended"], done.stderr


@pytest.mark.parametrize(
    "method, finalize",
    [("def __del__(self): stop()", ""), ("pass", "weakref.finalize(made, stop)")],
)
def test_a_signal_in_a_finalizer_is_not_lost(method, finalize):
    script = (
        "import os, signal, time, weakref\n"
        "from oneflow_bench.bench.cli.failures import end_on_signals\n"
        "end_on_signals()\n"
        f"class Made:\n    {method}\n"
        "def stop():\n"
        "    os.kill(os.getpid(), signal.SIGINT); time.sleep(0.1); print('finalized', flush=True)\n"
        f"made = Made()\n{finalize}\n"
        "try:\n    del made; time.sleep(100)\n"
        "except KeyboardInterrupt:\n    print('ended')"
    )
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["finalized", "ended"], done.stderr


def test_a_second_signal_does_not_disturb_the_end():
    program = (
        "import os, signal, time\n"
        "from oneflow_bench.bench.cli.failures import end_on_signals\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # `nohup pytest` ignores it
        "end_on_signals()\n"
        "try:\n    os.kill(os.getpid(), signal.SIGHUP); time.sleep(50)\n"
        "except KeyboardInterrupt:\n"
        "    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):\n"
        "        os.kill(os.getpid(), each)\n"
        "    print('ended in good order')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert done.stdout == b"ended in good order\n" and not done.stderr


def test_signals_that_nohup_ignores_stay_ignored():
    before = {each: signal.getsignal(each) for each in failures.ENDING_SIGNALS}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        failures.end_on_signals()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert callable(signal.getsignal(signal.SIGTERM))
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_the_result_outlives_a_picture_that_cannot_be_drawn(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(failures.tempfile, "tempdir", str(tmp_path))
    for error in (MarkupError("odd"), OSError(28, "No space left on device")):
        with failures.go_on_without("the pictures", "bench plot R draws them"):
            raise error
    with failures.go_on_without("the pictures", ""):
        raise InputError("give more")
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("the pictures could not be made (MarkupError: odd; its traceback")
    assert said[1].endswith("; bench plot R draws them") and "No space left" in said[1]
    assert said[2] == "the pictures could not be made: give more"
    with pytest.raises(KeyboardInterrupt), failures.go_on_without("", ""):
        raise KeyboardInterrupt


def test_names_are_no_markup_on_the_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    console.print("runs/[red]/[/x]")
    assert "runs/[red]/[/x]" in console.file.getvalue()
    with ProgressBar("images") as bar:
        bar("[/x]", 1, 2)
        assert bar.columns[0].render(bar.tasks[0]).plain == "[/x]"


def test_a_usage_error_keeps_click_s_words(capsys):
    assert cli._run(["plot"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("Usage: bench plot") and "Missing argument" in said
    assert failures.tell(click.Abort()) == 130


def test_an_error_is_wrapped_between_words_in_a_terminal_alone(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    path = "/a/path/that/is/longer/than/forty/letters/record.json"
    text = f"error: no record at {path}; give a folder made by bench compare"
    failures.say(text)
    assert capsys.readouterr().err == f"{text}\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    failures.say(text)
    lines = capsys.readouterr().err.splitlines()
    assert any(path in line for line in lines)
    assert all(len(line) <= 40 or path in line for line in lines)
    assert " ".join(word for line in lines for word in line.split()) == text


@pytest.mark.parametrize("no_color", [None, "1"])
def test_no_color_leaves_plain_text(monkeypatch, no_color):
    monkeypatch.setenv("TERM", "xterm")
    if no_color is None:
        monkeypatch.delenv("NO_COLOR", raising=False)
    else:
        monkeypatch.setenv("NO_COLOR", no_color)
    file = io.StringIO()
    Console(file=file, force_terminal=True).print("loss", style="bold red")
    assert ("\x1b[" in file.getvalue()) == (no_color is None)


@pytest.mark.parametrize("write", ["comparison", "run", "sweep"])
def test_the_texts_are_kept_where_there_is_no_room_for_pictures(tmp_path, monkeypatch, write):
    def find_no_room(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pictures, "replace_atomically", find_no_room)
    record = create_record(create_events("eager"), create_events("graph"))
    with pytest.raises(OSError, match="No space"):
        if write == "comparison":
            write_comparisons(compare_record(record), record, tmp_path)
        elif write == "run":
            summary = summarize_contender(record, record.contender_names()[0])
            write_report(tmp_path, [record], partial(build_run_report, summary))
        else:
            _write_reports(create_mixed_sweep(), tmp_path)
    pictures.plt.close("all")
    text = (tmp_path / "report.md").read_text()
    assert text.startswith("# ") and "![" not in text
    assert (tmp_path / "comparison.json").exists() == (write == "comparison")
    assert (tmp_path / "cells.csv").exists() == (write == "sweep")
