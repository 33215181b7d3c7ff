"""How data parallel training of three models would scale to 1,024 ranks: calculated, not measured.

    python benchmarks/scaling_study.py           # the profiles that are missing, then the report
    python benchmarks/scaling_study.py report    # tables and picture of what is stored

Profiles one process of this machine, each model in both modes (`bench profile`), and lets
`bench scaling` calculate from it: over the link measured between two processes here
(results/distributed/all-reduce.json) and over made-up networks. Each profile is stored as it ends,
and a second call goes on where the first stopped.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from distributed import Run, run_bench
from study import load_rows, open_study, run_main, run_study

from oneflow_bench.bench.record.run import write_atomically

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("alexnet", "resnet50", "vgg16")
MODES = ("eager", "graph")
IMAGE_SIZE, BATCH_SIZE, ITERATIONS = "224", "4", "3"
GLOBAL_BATCH_SIZE = 1024  # what strong scaling divides: one image a rank at the end
TABLE_RANKS = (8, 64, 1024)
RANKS = tuple(2**power for power in range(1, 11))
MEASURED = ROOT / "results" / "distributed" / "all-reduce.json"


class Link(NamedTuple):
    """What an all-reduce passes through: its title, and the flags of `bench scaling`."""

    title: str
    flags: List[str]


LINKS = [
    Link("as measured between 2 processes here", ["--all-reduce", str(MEASURED)]),
    Link("10 Gbit/s, 50 us", ["--bandwidth", "1.25e9", "--latency", "5e-5"]),
    Link("100 Gbit/s, 10 us", ["--bandwidth", "1.25e10", "--latency", "1e-5"]),
]


def profile(out: Path, model: str, mode: str, run: Run) -> Dict[str, Any]:
    """The row of a profile, whose folder is kept."""
    folder = out / "profiles" / f"{model}-{mode}"
    shutil.rmtree(folder, ignore_errors=True)  # of a profile that was ended
    run([
        "profile", "--model", model, "--mode", mode, "--batch-size", BATCH_SIZE, "--image-size",
        IMAGE_SIZE, "--iterations", ITERATIONS, "--out", str(folder),
    ])  # fmt: skip
    name = str(folder.relative_to(out))
    return {"profile": name, "verdict": "profiled", "reason": name}


def calculate(out: Path, row: Dict[str, Any], link: Link, run: Run) -> Dict[str, Any]:
    """The document of `bench scaling` for a stored profile."""
    ranks = ",".join(map(str, RANKS))
    given = ["--profile", str(out / row["profile"]), "--ranks", ranks, *link.flags]
    text = run(["scaling", *given, "--global-batch-size", str(GLOBAL_BATCH_SIZE), "--json"])
    document: Dict[str, Any] = json.loads(text)
    return document


def list_tables(documents: Dict[str, List[Dict[str, Any]]]) -> str:
    """Markdown: a table for each link, `documents` by its title."""
    lines: List[str] = []
    columns = [f"{scaling}, {ranks:,}" for scaling in ("weak", "strong") for ranks in TABLE_RANKS]
    for title, found in documents.items():
        lines += [
            f"Link {title}; efficiency with overlap (and without), calculated:",
            "",
            f"| model | mode | step of one rank, ms | gradients, MB | {' | '.join(columns)} |",
            f"|---|---|---:|---:|{'---:|' * len(columns)}",
            *map(_row, found),
            "",
        ]
    return "\n".join(lines)


def _row(document: Dict[str, Any]) -> str:
    by_ranks = {prediction["ranks"]: prediction for prediction in document["predictions"]}
    cells = [
        document["model"],
        document["mode"],
        f"{document['step_time_s'] * 1e3:.0f}",
        f"{document['gradient_bytes'] / 1e6:.1f}",
    ]
    for scaling in ("weak", "strong"):
        for ranks in TABLE_RANKS:
            found = by_ranks[ranks][scaling]
            with_overlap, without = found["overlap"], found["no_overlap"]
            cells.append(f"{with_overlap['efficiency']:.2f} ({without['efficiency']:.2f})")
    return f"| {' | '.join(cells)} |"


def render_picture(documents: Dict[str, List[Dict[str, Any]]], folder: Path) -> List[Path]:
    """Efficiency over ranks, weak above strong, a column for each link."""
    from oneflow_bench.bench.report.pictures import PICTURE_STYLE, plt, save_picture

    colours = dict(zip(MODELS, ("#103060", "#a02060", "#207040")))
    styles = dict(zip(MODES, ("-", "--")))
    with plt.rc_context(PICTURE_STYLE):
        figure, grid = plt.subplots(
            2, len(documents), figsize=(11, 6.5), sharex=True, sharey=True, layout="constrained"
        )
        for column, (title, found) in zip(grid.T, documents.items()):
            column[0].set_title(title)
            column[1].set_xlabel("ranks")
            for axes, scaling in zip(column, ("weak", "strong")):
                for document in found:
                    predictions = document["predictions"]
                    axes.plot(
                        [prediction["ranks"] for prediction in predictions],
                        [
                            prediction[scaling]["overlap"]["efficiency"]
                            for prediction in predictions
                        ],
                        styles[document["mode"]],
                        color=colours[document["model"]],
                        label=f"{document['model']}, {document['mode']}",
                    )
                axes.set_xscale("log", base=2)
                axes.set_xticks([2, 8, 64, 1024], ["2", "8", "64", "1,024"])
                axes.set_ylim(0, 1.05)
        grid[0][0].set_ylabel(f"weak: {BATCH_SIZE} images a rank\nefficiency")
        grid[1][0].set_ylabel(f"strong: {GLOBAL_BATCH_SIZE:,} images in all\nefficiency")
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
        return save_picture(figure, folder, "efficiency")


def write_report(out: Path, run: Run) -> str:
    """The tables and the picture of what is stored."""
    rows = [row for row in load_rows(out / "rows.jsonl") if "error" not in row]
    if not rows:
        return f"no profile is stored in {out} yet; run the study without 'report' first\n"
    documents = {link.title: [calculate(out, row, link, run) for row in rows] for link in LINKS}
    text = list_tables(documents)
    write_atomically(out / "table.md", text)
    write_atomically(out / "scaling.json", json.dumps(documents, indent=1) + "\n")
    render_picture(documents, out)
    return text


def measure_and_report(out: Path, only_report: bool, run: Run) -> None:
    if not only_report:
        open_study(out)
        cases = [(f"{model}/{mode}", (out, model, mode, run)) for model in MODELS for mode in MODES]
        run_study(out / "rows.jsonl", cases, profile)
    print(write_report(out, run), end="")


def main(arguments: Optional[Sequence[str]] = None, run: Run = run_bench) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["report"], help="only report what is stored")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "scaling")
    options = parser.parse_args(arguments)
    only_report = options.what is not None
    return run_main(lambda: measure_and_report(options.out.resolve(), only_report, run))


if __name__ == "__main__":
    sys.exit(main())
