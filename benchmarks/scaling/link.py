"""The time of an all-reduce over a link, and a link fitted to measured all-reduces.

S bytes over N ranks, latency a and bandwidth b of one link, which each rank has in both directions:

    ring   T = 2 (N - 1) a + 2 (N - 1) / N S / b
    tree   T = 2 log2(N) a + 2 (N - 1) / N S / b

ring: Patarasuk and Yuan, Bandwidth optimal all-reduce algorithms for clusters of workstations,
J. Parallel Distrib. Comput. 69, 2009. tree: recursive halving, then recursive doubling
(Rabenseifner's algorithm), in Thakur, Rabenseifner and Gropp, Optimization of collective
communication operations in MPICH, Int. J. High Perform. Comput. Appl. 19, 2005; this formula holds
for powers of two only. The papers also count the additions, which are left out here: they are of
the processor, not of the link.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import List, Optional

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import Literal

from oneflow_bench.bench.distributed.summary import sent_bytes
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.record.run import load_document
from oneflow_bench.bench.tools.sweep.growth import MIN_BATCH_SIZES, LineFit, Point, fit_line

SCHEMA_VERSION = 1
Algorithm = Literal["ring", "tree"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Link(_Part):
    """One rank's way to another."""

    latency_s: float
    bandwidth_bytes_per_s: float


class AllReduceSample(_Part):
    """One measured all-reduce."""

    size_bytes: int = Field(gt=0)
    time_s: float = Field(gt=0, allow_inf_nan=False)


class AllReduceDocument(_Part):
    """Measured all-reduces between a number of ranks: the content of `--all-reduce FILE`."""

    schema_version: int = SCHEMA_VERSION
    ranks: int = Field(ge=2)
    samples: List[AllReduceSample]


class LinkFit(_Part):
    """A link fitted to measured all-reduces, with the error of the fit. 95 % intervals."""

    link: Link
    ranks: int
    count: int
    latency_low_s: float
    latency_high_s: float
    latency_held: bool  # the free fit's was below 0, so that it was held there
    bandwidth_low_bytes_per_s: float
    bandwidth_high_bytes_per_s: Optional[float]  # None: no upper end
    worst_residual: float  # largest |measured - fit| / measured
    is_bad: bool


def create_link(latency_s: float, bandwidth_bytes_per_s: float) -> Link:
    """Raises InputError for a bandwidth or latency that no link has."""
    if not (math.isfinite(bandwidth_bytes_per_s) and bandwidth_bytes_per_s > 0):
        raise InputError(
            f"--bandwidth {bandwidth_bytes_per_s:g} is no bandwidth; give bytes a second, above 0, "
            "such as 1.25e9 for 10 Gbit/s"
        )
    if not (math.isfinite(latency_s) and latency_s >= 0):
        raise InputError(
            f"--latency {latency_s:g} is no latency; give seconds, 0 or more, such as 5e-5"
        )
    return Link(latency_s=latency_s, bandwidth_bytes_per_s=bandwidth_bytes_per_s)


def count_messages(algorithm: Algorithm, ranks: int) -> int:
    """Messages that follow one another in an all-reduce. Each costs the latency once.

    Raises InputError for a tree of ranks that are no power of two.
    """
    if algorithm == "ring":
        return 2 * (ranks - 1)
    if ranks & (ranks - 1):
        raise InputError(
            f"{ranks} ranks were given with the algorithm tree, whose formula is for powers of "
            "two; give such numbers, or --algorithm ring"
        )
    return 2 * (ranks.bit_length() - 1)


def all_reduce_time_s(algorithm: Algorithm, ranks: int, size_bytes: float, link: Link) -> float:
    """Seconds of one all-reduce of `size_bytes`; 0 for one rank. Formulas: see the module."""
    latency_s = count_messages(algorithm, ranks) * link.latency_s
    return latency_s + sent_bytes(ranks, size_bytes) / link.bandwidth_bytes_per_s


def load_all_reduce(path: Path) -> AllReduceDocument:
    """Read measured all-reduces. Raises RecordError if the file cannot be used."""
    document: AllReduceDocument = load_document(
        path,
        AllReduceDocument,
        [SCHEMA_VERSION],
        "file of all-reduces",
        "give --all-reduce a JSON file with schema_version, ranks and samples",
    )
    return document


def fit_link(document: AllReduceDocument, algorithm: Algorithm) -> LinkFit:
    """The link whose all-reduces are nearest to the measured ones.

    Least squares of T = messages a + sent S / b, each sample weighing 1 / T**2 (see `fit_line`).
    Raises InputError for too few sizes and for times that do not grow with the size.
    """
    points = [Point(batch_size=one.size_bytes, value=one.time_s) for one in document.samples]
    fit = fit_line(points)
    if fit is None:
        count = len({point.batch_size for point in points})
        raise InputError(
            f"--all-reduce has {count} sizes and the fit needs {MIN_BATCH_SIZES}; "
            "measure all-reduces of more sizes"
        )
    if fit.per_image <= 0:
        raise InputError(
            "--all-reduce has times that do not grow with the size, so that no bandwidth follows; "
            "measure larger sizes too"
        )
    return _create_fit(document, algorithm, fit)


def _create_fit(document: AllReduceDocument, algorithm: Algorithm, fit: LineFit) -> LinkFit:
    messages = count_messages(algorithm, document.ranks)
    share = sent_bytes(document.ranks, 1)
    return LinkFit(
        link=create_link(fit.floor / messages, share / fit.per_image),
        ranks=document.ranks,
        count=fit.count,
        latency_low_s=fit.floor_low / messages,
        latency_high_s=fit.floor_high / messages,
        latency_held=fit.floor_held,
        bandwidth_low_bytes_per_s=share / fit.per_image_high,
        bandwidth_high_bytes_per_s=share / fit.per_image_low if fit.per_image_low > 0 else None,
        worst_residual=fit.worst_residual,
        is_bad=fit.is_bad,
    )
