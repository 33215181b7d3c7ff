import pytest
from data_samples import run_python

import oneflow_bench.data as data


def test_importing_the_data_package_imports_neither_oneflow_nor_scikit_learn():
    code = (
        "import sys, oneflow_bench.data\n"
        "print([name for name in ('oneflow', 'sklearn') if name in sys.modules])"
    )
    done = run_python(code)
    assert done.returncode == 0 and done.stdout.strip() == "[]", done.stderr


def test_public_names_exist_without_oneflow():
    for name in data.__all__:
        if name != "OFRecordDataLoader":
            assert hasattr(data, name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = data.nothing_such
