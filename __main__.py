"""The entry point of `bench` and of `python -m oneflow_bench`."""

import os
import sys

# `python -m` puts the current folder first. A file of the user's there must shadow no library.
if sys.path[0] in ("", os.getcwd()):
    del sys.path[0]

import signal  # noqa: E402


def main() -> None:
    """Run the command line. A signal while its libraries are imported ends it in a sentence."""
    from oneflow_bench.bench.errors import ENDING_SIGNALS, EXIT_INTERRUPTED

    def end(number: int, frame: object) -> None:
        os.write(2, b"ended by the user\n")
        os._exit(EXIT_INTERRUPTED)  # an exception would be one of the import

    for each in ENDING_SIGNALS:
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, end)
    from oneflow_bench.bench.cli import main as run

    run()


if __name__ == "__main__":
    main()
