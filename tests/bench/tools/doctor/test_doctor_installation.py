from __future__ import annotations

import pytest
from doctor_measurements import ask, create_identity, create_import

from oneflow_bench.bench.tools.doctor.diagnosis import Failure
from oneflow_bench.bench.tools.doctor.installation import INSTALLATION_CHECKS, explain_import

NOT_FOUND = "ImportError: {}: cannot open shared object file: No such file or directory"
NUMPY_2 = {"oneflow": "0.9.0", "numpy": "2.0.1"}


def check(machine=None, **changes):
    return ask(INSTALLATION_CHECKS, machine, runtime=changes)


def attention(found):
    return [name for name, c in found.items() if c.status == "attention"]


def test_an_installation_with_everything_right_has_no_finding():
    found = check()
    assert {c.status for c in found.values()} == {"ok"}
    assert found["oneflow_import"].evidence == "OneFlow 0.9.0 in 1.0 s"
    assert found["versions"].evidence == (
        "Python 3.10.13, numpy 1.26.4, oneflow 0.9.0; OneFlow is built for CUDA 11.7, "
        "loaded are cuDNN 8600 for CUDA 11.8, cuBLAS 11.10.3"
    )


@pytest.mark.parametrize(
    "error, identity, cause, remedy",
    [
        (
            NOT_FOUND.format("libcudnn_cnn_infer.so.8"),
            {},
            "libcudnn_cnn_infer.so.8",
            "nvidia-cudnn",
        ),
        (NOT_FOUND.format("libcublas.so.11"), {}, "libcublas.so.11 is missing", "nvidia-cublas"),
        (NOT_FOUND.format("libz.so.1"), {}, "libz.so.1 is missing", "LD_LIBRARY_PATH"),
        (
            "ModuleNotFoundError: No module named 'oneflow'",
            {"installed": {"numpy": "1.26.4"}},
            "not installed there",
            "pip install oneflow==0.9.0",
        ),
        (
            "ModuleNotFoundError: No module named 'oneflow'",
            {"installed": {}, "python": "3.11.2"},
            "no wheel for Python 3.11.2",
            "Python 3.7 to 3.10",
        ),
        ("ImportError: numpy.core", {"installed": NUMPY_2}, "NumPy 2.0.1", "'numpy<2'"),
        ("ModuleNotFoundError: No module named 'tqdm'", {}, "module tqdm", "pip install tqdm"),
        ("TypeError: Descriptors cannot be created directly", {}, "protobuf", "<4'"),
        ("the process died (ended by SIGILL)", {}, "SIGILL", "--force-reinstall"),
    ],
)
def test_a_failed_import_is_explained(error, identity, cause, remedy):
    explained = explain_import(create_identity(**identity), create_import(error=error))
    assert cause in explained[0] and remedy in explained[1]
    found = check(identity=create_identity(**identity), imported=create_import(error=error))
    assert "oneflow_import" in attention(found)
    assert cause in found["oneflow_import"].evidence
    assert found["gpu"].status == found["measurements"].status == "unknown"


def test_a_library_named_only_in_the_log_is_found():
    imported = create_import(error="the process died", log_tail=NOT_FOUND.format("libcudnn.so.8"))
    assert "libcudnn.so.8" in explain_import(None, imported)[0]


@pytest.mark.parametrize(
    "changes, consequence, remedy",
    [
        ({"identity": create_identity(installed=NUMPY_2)}, "NumPy 1", "numpy<2"),
        ({"identity": create_identity(python="3.12.1")}, "no wheel", "3.7 to 3.10"),
        ({"imported": create_import(cudnn=[90100, 12040])}, "cuDNN 90100", "nvidia-cudnn-cu11"),
        ({"imported": create_import(cudnn=[8900, 12010])}, "CUDA 12, OneFlow for 11", "cudnn"),
        ({"imported": create_import(cublas=[12, 1, 0])}, "cuBLAS 12", "nvidia-cublas-cu11"),
    ],
)
def test_versions_that_do_not_fit_are_found(changes, consequence, remedy):
    found = check(**changes)
    assert attention(found) == ["versions"]
    assert consequence in found["versions"].consequence and remedy in found["versions"].remedy


def test_a_cpu_build_needs_no_cudnn():
    imported = create_import(oneflow_cuda=0, cudnn=None, cublas=None)
    assert attention(check(imported=imported)) == []


def test_a_gpu_that_oneflow_does_not_see_is_found():
    def check_gpu(**changes):
        return check({"nvidia_driver": "390.157"}, imported=create_import(**changes))["gpu"]

    unseen = check_gpu()
    assert unseen.status == "attention" and "built for CUDA 11.7" in unseen.evidence
    assert check_gpu(gpus=2).evidence == "OneFlow sees 2, driver 390.157"
    assert "CUDA build" in check_gpu(oneflow_cuda=0).remedy


def test_a_crash_is_a_finding_and_want_of_time_is_not():
    crash = Failure(measurement="train steps", reason="the process died (SIGILL)", crashed=True)
    late = [
        Failure(measurement=name, reason="the time was up", crashed=False) for name in ("a", "b")
    ]
    assert attention(check(failures=[crash, *late])) == ["measurements"]
    unknown = check(failures=late)["measurements"]
    assert unknown.status == "unknown" and "a, b: the time was up; give" in unknown.evidence


def test_an_import_that_found_no_end_is_unknown():
    found = check(imported=None, identity=None)
    assert {c.status for c in found.values()} == {"unknown"}
