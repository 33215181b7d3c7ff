import os
import sys

# `python -m` puts the current folder first. A file of the user's there must shadow no library.
if sys.path[0] in ("", os.getcwd()):
    del sys.path[0]

from oneflow_bench.bench.cli import main  # noqa: E402

main()
