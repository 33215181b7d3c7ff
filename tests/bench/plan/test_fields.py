from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from oneflow_bench.bench.config import (
    DATASET_FIELDS,
    LOSS_ARGUMENTS,
    READ_WITH,
    SYNTHETIC_DATA,
    TEACHER_LOSSES,
    Contender,
    Measuring,
    Workload,
)
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.plan.checks import validated
from oneflow_bench.bench.plan.fields import (
    SETTINGS,
    flag_of,
    list_settings,
    list_unread,
)

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "name, flag, values, default",
    [
        ("batch_size", "--batch-size", "a whole number at least 1", "32"),
        ("lr", "--lr", "a number above 0", "0.02"),
        ("momentum", "--momentum", "a number at least 0 and below 1", "0.9"),
        ("subset_percent", "--subset-percent", "a number above 0 and at most 100", "100"),
        ("feed", "--feed", "loader, graph or memory", "loader"),
        ("device", "--device", "cpu or cuda", "cpu"),
        ("scale_lr", "--scale-lr", "true or false", "off"),
        ("lr_milestones", "--lr-milestones", "a list of whole numbers", ""),
        ("model_args", "--model-arg", "a table", ""),
        ("clip_norm", "--clip-norm", "a number above 0", "no clipping"),
        ("val_batch_size", "--val-batch-size", "a whole number at least 1",
         "120, or the split if smaller"),
        ("label_smoothing", "--label-smoothing", "a number at least 0 and below 1",
         "0.1 with label_smoothing"),
        ("timeout_s", "--timeout", "a number above 0", "600"),
        ("budget_s", "--budget", "a number above 0", "60"),
        ("margin", "--margin", "a share such as 3% or 0.03", "1%"),
        ("keep_checkpoints", "--keep-checkpoints", "a text",
         "best,last in bench eager and bench graph, else none"),
        ("ranks", "--ranks", "a whole number at least 1", "1"),
    ],
)  # fmt: skip
def test_a_setting_is_read_from_its_field(name, flag, values, default):
    setting = SETTINGS[name]
    assert (flag_of(name), setting.describe_values()) == (flag, values)
    assert setting.describe_default() == default


def test_the_flag_of_the_readers_is_that_of_the_ranks():
    assert flag_of("readers") == "--ranks"


@pytest.mark.parametrize("model", [Workload, Contender, Measuring])
def test_a_number_has_a_bound_and_a_default_fits_its_own_field(model):
    for setting in list_settings(model):
        if setting.kind in (int, float):
            assert {"ge", "gt"} & set(setting.bounds), setting.name
        if setting.default is not None:
            fixed = {"name": "x", "mode": "eager"} if model is Contender else {}
            validated(model, {**fixed, setting.name: setting.default})


@pytest.mark.parametrize("loss", [*LOSS_ARGUMENTS, "mine:loss"])
def test_the_fields_without_effect_are_those_that_a_loss_does_not_take(loss):
    unused = {name for name, decisive in list_unread({"loss": loss}).items() if decisive == "loss"}
    assert not unused & set(LOSS_ARGUMENTS.get(loss, {}))
    assert ("teacher" in unused) == (loss not in TEACHER_LOSSES)


def test_the_table_of_what_is_read_knows_fields_and_values_of_the_configuration():
    for name, (decisive, values) in READ_WITH.items():
        assert {name, decisive} <= set(Workload.model_fields) and values
        for value in values:
            assert name not in list_unread({decisive: value})
            assert decisive in ("loss", "optimizer") or validated(Workload, {decisive: value})
    assert set(DATASET_FIELDS) <= set(list_unread({"data": SYNTHETIC_DATA}))
    assert not set(DATASET_FIELDS) & set(list_unread({}))


def write_tables(root, *arguments):
    return subprocess.run(
        [sys.executable, root / "tools" / "field_tables.py", *arguments],
        capture_output=True,
        text=True,
    )


def test_the_documentation_has_the_table_of_the_fields():
    done = write_tables(ROOT, "--check")
    assert (done.returncode, done.stdout) == (0, ""), "run python tools/field_tables.py"


def test_a_table_that_is_out_of_date_is_found_and_rewritten(tmp_path):
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    page.write_text(
        "before\n<!-- fields of a contender -->\n| stale |\n<!-- end of fields -->\nafter\n"
    )
    done = write_tables(tmp_path, "--check")
    assert (done.returncode, done.stdout) == (1, "page.md: not what the fields say\n")
    assert write_tables(tmp_path).returncode == 0
    assert write_tables(tmp_path, "--check").returncode == 0
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "stale" not in text
    for key in ("runtime", "env.NAME", "ranks"):
        assert f"| `{key}` |" in text


def test_the_table_of_losses_lists_what_each_takes():
    text = (ROOT / "docs" / "recipes.md").read_text()
    losses = text[text.index("| `loss` | takes | formula |") :]
    for loss, arguments in LOSS_ARGUMENTS.items():
        line = re.search(rf"^\| `{loss}` \|([^|]*)\|", losses, re.M)[1]
        if loss == "self_distillation":  # continues the line above
            line += "`alpha`, `temperature`, `teacher`"
        for name, default in arguments.items():
            assert f"`{name}`" + ("" if default is None else f" ({default:g})") in line
        assert ("`teacher`" in line) == (loss in TEACHER_LOSSES)


@pytest.mark.parametrize("rule", ["every:0", "best;last", "best,none", "all", ""])
def test_a_rule_for_checkpoints_that_means_nothing_is_refused(rule):
    with pytest.raises(InputError, match="--keep-checkpoints .* give best, last and every:N"):
        validated(Measuring, {"keep_checkpoints": rule})


@pytest.mark.parametrize("stored, rule", [(True, "best,last,every:1"), (False, "none")])
def test_the_rule_of_an_old_record_is_read(stored, rule):
    assert Measuring(keep_checkpoints=stored).keep_checkpoints == rule
