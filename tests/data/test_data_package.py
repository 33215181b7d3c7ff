import pytest
from data_samples import run_python
from PIL import Image

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


def test_paths_may_be_strings(tmp_path):
    digits, out = str(data.default_dataset_path()), str(tmp_path / "out")
    dataset = data.load_dataset(digits)
    assert data.inspect_dataset(digits, scan=False)["name"] == dataset.name
    data.reshard_dataset(digits, 2, out)
    assert data.validate_dataset(out, image_size=8, batch_size=4).train.num_samples == 1438
    assert data.write_subset(data.load_dataset(out), 10, 0, out + "-subset").train.num_samples > 100
    (tmp_path / "names.txt").write_text("a\nb\n")
    assert data.load_labels(str(tmp_path / "names.txt")) == ("a", "b")
    Image.new("RGB", (9, 7), (255, 0, 0)).save(tmp_path / "red.png")
    pixels = data.read_picture(str(tmp_path / "red.png"), 4)
    red = [(255 * (c == 0) - data.IMAGENET_MEAN[c]) / data.IMAGENET_STD[c] for c in range(3)]
    assert pixels.shape == (3, 4, 4) and pixels[:, 2, 2] == pytest.approx(red, rel=1e-5)
