"""What `make` and `pip install` do, without the minutes of installing OneFlow."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FIND = ROOT / "tools" / "find_python.sh"


def fake_python(folder, name, version, has_venv=True):
    """A program that answers the three questions the script asks of an interpreter."""
    path = folder / name
    path.write_text(
        "#!/bin/sh\n"
        'case "$2" in\n'
        f'  *version_info*) echo "{version}" ;;\n'
        f"  *ensurepip*) exit {0 if has_venv else 1} ;;\n"
        f'  *executable*) echo "{path}" ;;\n'
        "esac\n"
    )
    path.chmod(0o755)
    return path


def broken_shim(folder, name):
    path = folder / name
    path.write_text("#!/bin/sh\necho 'pyenv: command not found' >&2\nexit 127\n")
    path.chmod(0o755)
    return path


def find(folder, **variables):
    environment = {"PATH": str(folder), **variables}
    return subprocess.run(
        ["/bin/sh", str(FIND)], env=environment, capture_output=True, text=True, timeout=30
    )


def test_the_newest_that_serves_is_taken(tmp_path):
    for version in ("3.8", "3.9", "3.10"):
        fake_python(tmp_path, f"python{version}", version)
    assert find(tmp_path).stdout.strip() == str(tmp_path / "python3.10")
    (tmp_path / "python3.10").unlink()
    assert find(tmp_path).stdout.strip() == str(tmp_path / "python3.9")


def test_a_shim_that_does_not_run_is_passed_over(tmp_path):
    broken_shim(tmp_path, "python3.10")
    fake_python(tmp_path, "python3.9", "3.9")
    assert find(tmp_path).stdout.strip() == str(tmp_path / "python3.9")


def test_pyenvs_versions_are_looked_through(tmp_path):
    programs, versions = tmp_path / "programs", tmp_path / "versions" / "3.10.7" / "bin"
    programs.mkdir()
    versions.mkdir(parents=True)
    pyenv = programs / "pyenv"
    pyenv.write_text(f"#!/bin/sh\necho {tmp_path}\n")
    pyenv.chmod(0o755)
    fake_python(versions, "python", "3.10")
    assert find(programs).stdout.strip() == str(versions / "python")


def test_uv_is_asked_where_it_is_installed(tmp_path):
    python = fake_python(tmp_path, "somewhere", "3.10")
    uv = tmp_path / "uv"
    uv.write_text(f"#!/bin/sh\necho {python}\n")
    uv.chmod(0o755)
    assert find(tmp_path).stdout.strip() == str(python)


@pytest.mark.parametrize(
    "prepare, variables, words",
    [
        (lambda d: None, {}, ["Python 3.10 was not found", "python3 here: none", "pyenv install"]),
        (
            lambda d: fake_python(d, "python3", "3.12"),
            {},
            ["python3 here: 3.12", "install uv", "on Ubuntu 22.04 by apt-get install"],
        ),
        (
            lambda d: fake_python(d, "other", "3.11"),
            {"PYTHON": "other"},
            ["PYTHON=other is Python 3.11", "needs Python 3.10"],
        ),
        (lambda d: None, {"PYTHON": "no-such"}, ["PYTHON=no-such does not run"]),
        (
            lambda d: fake_python(d, "python3.10", "3.10", has_venv=False),
            {},
            ["without the venv module", "python3.10-venv"],
        ),
    ],
)
def test_a_wrong_or_missing_interpreter_is_one_sentence(tmp_path, prepare, variables, words):
    prepare(tmp_path)
    done = find(tmp_path, **variables)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr


def test_a_second_make_does_no_set_up_again():
    done = subprocess.run(
        ["make", "-n", "setup"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")},
    )
    assert done.returncode == 0, done.stderr
    assert "pip install" not in done.stdout


def test_the_lock_is_exact_and_names_no_place():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith((" ", "#"))]
    assert len(pins) > 30
    assert all("==" in pin and pin.endswith(" \\") for pin in pins)
    hashes = [after for pin, after in zip(lines, lines[1:]) if pin in pins]
    assert all(line.startswith("    --hash=sha256:") for line in hashes)
    assert not any("://" in line or "--index" in line or " @ " in line for line in lines)
    for exact in ("oneflow==0.9.0", "nvidia-cudnn-cu11==8.6.0.163", "pillow==10.4.0"):
        assert f"{exact} \\" in pins


def test_a_wheel_holds_one_package_and_the_digits(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
        + ["--disable-pip-version-check", "-w", str(tmp_path / "wheel"), "."],
        cwd=copy_sources(tmp_path / "sources"),
        check=True,
        timeout=120,
    )
    (wheel,) = (tmp_path / "wheel").iterdir()
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"oneflow_bench"}
    for name in ("py.typed", "bench/cli/compare.py", "models/alexnet.py", "data/loader.py",
                 "data/digits/index.json", "bench/parity/reproduction.template",
                 "bench/report/page/page.html", "bench/report/page/uPlot.js"):  # fmt: skip
        assert f"oneflow_bench/{name}" in names
    ours = {name.split("/")[1] for name in names if name.startswith("oneflow_bench/")}
    assert ours == {"__init__.py", "__main__.py", "py.typed", "bench", "models", "data"}
    assert sum("digits/train/part-" in name for name in names) >= 2


def copy_sources(target):
    """The tracked files alone, so that what was built here before is not in the way."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            destination = target / name
            destination.parent.mkdir(parents=True, exist_ok=True)
            destination.write_bytes((ROOT / name).read_bytes())
    return target


SHADOWS = ("numpy", "json", "random", "models", "data", "bench", "types", "click")


def test_files_of_the_current_folder_shadow_no_library(tmp_path):
    """Neither in the controller nor in the workers; the user's own model is still found there."""
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('{name}.py was imported')\n")
    (tmp_path / "mine.py").write_text(
        "from helper import nn\n"
        "def factory(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))\n"
    )
    (tmp_path / "helper.py").write_text("from oneflow import nn\n")
    bench = Path(sys.executable).parent / "bench"
    done = subprocess.run(
        [str(bench), "compare", "--model", "mine:factory", "--epochs", "1", "--steps-per-epoch"]
        + ["2", "--no-speed", "--out", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "identical" in done.stdout


@pytest.mark.parametrize("command", [["-m", "oneflow_bench"], ["-I", "-m", "oneflow_bench"]])
def test_the_package_runs_as_a_module_beside_files_named_like_libraries(tmp_path, command):
    for name in ("numpy", "json", "random", "click", "bench"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('imported')\n")
    done = subprocess.run(
        [sys.executable, *command, "--version"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
