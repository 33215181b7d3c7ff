"""Packaging. The repository's root is the package `oneflow_bench`.

A file's path is its import path, and no package called `models` or `data` reaches site-packages.
This file never imports OneFlow. It reads the version as text.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
VERSION = re.search(
    r'^__version__ = "([^"]+)"', (ROOT / "__init__.py").read_text(), re.MULTILINE
).group(1)

FOLDERS = find_packages(include=["bench", "bench.*", "models", "data", "data.*"])
TENSORBOARD = ["tensorboardX>=2.5"]  # writes event files
CLUSTER = ["ray>=2.50,<3; python_version >= '3.10'"]
TEST = [
    "pytest>=7",
    "pytest-timeout>=2",
    "scikit-learn>=1.3",
    "junitparser>=3.1",
    *TENSORBOARD,
    *CLUSTER,
    # the real readers of what `bench export` writes
    "pyperf>=2.3",
    "pytest-benchmark>=4",
    "tensorboard>=2.10",
]


class BuildPackage(build_py):
    """Leaves this file out of the package, in whose folder it lies."""

    def find_package_modules(self, package, package_dir):
        found = super().find_package_modules(package, package_dir)
        return [module for module in found if module[1] != "setup"]


setup(
    name="oneflow-bench",
    version=VERSION,
    description="Is a OneFlow model's compiled graph faithful to eager mode, and is it worth it?",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.8,<3.11",
    packages=["oneflow_bench", *(f"oneflow_bench.{name}" for name in FOLDERS)],
    package_dir={"oneflow_bench": "."},
    cmdclass={"build_py": BuildPackage},
    package_data={
        "oneflow_bench": ["py.typed"],
        "oneflow_bench.bench.parity": ["*.json", "*.template"],
        "oneflow_bench.bench.tools.adopt": ["*.template"],
        "oneflow_bench.bench.report.page": ["*.html", "*.css", "*.js", "*.LICENSE"],
        "oneflow_bench.data": ["imagenet_names.json", "digits/*.json", "digits/*/part-*"],
    },
    install_requires=[
        "oneflow==0.9.0",
        "numpy<2",
        # the OneFlow wheel is a CUDA build and finds these beside it, also on a CPU machine
        "nvidia-cudnn-cu11>=8.6,<9",
        "nvidia-cublas-cu11>=11.10,<12",
        "protobuf>=3.9.2,<4",
        "click>=8",
        "jinja2>=3",
        "cloudpickle>=2.2",
        "tomli>=1.1",
        "rich>=12",
        "pydantic>=2.5,<3",
        "typing_extensions>=4.6",
        "safetensors>=0.4",
        "scipy>=1.9",
        "matplotlib>=3.6",
        "pillow>=9",
        "simplejpeg>=1.6",  # reports libjpeg's warnings, which Pillow hides
    ],
    extras_require={
        "tensorboard": TENSORBOARD,
        "cluster": CLUSTER,
        "test": TEST,
        "dev": [*TEST, "ruff", "codespell", "mypy", "basedpyright"],
    },
    entry_points={"console_scripts": ["bench = oneflow_bench.__main__:main"]},
)
