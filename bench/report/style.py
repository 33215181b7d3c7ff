"""What all pictures have in common: how curves look, and how a figure is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Tuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: E402

# Curves that lie on each other must both be seen: broad and light below, thin and dark above.
# (colour, line width, line, mark, size of the mark)
_STYLES: List[Tuple[str, float, Any, str, int]] = [
    ("#f0a030", 5.0, "-", "o", 9),
    ("#103060", 1.4, "--", "x", 6),
    ("#308040", 1.4, ":", "s", 5),
    ("#a02060", 1.4, "-.", "^", 5),
    ("#707070", 1.4, (0, (6, 1)), "D", 4),
    ("#00a0a0", 1.4, (0, (1, 3)), "v", 5),
    ("#c05000", 1.4, (2, (4, 4)), "+", 6),
    ("#5050d0", 1.4, (4, (8, 4)), "*", 5),
]
PICTURE_STYLE = {
    "svg.hashsalt": "oneflow-bench",
    "font.size": 10,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
DPI = 130


def choose_style(index: int, markers: bool) -> Dict[str, Any]:
    """How curve number `index` is drawn; the first eight look different without colours too."""
    color, width, line, marker, size = _STYLES[index % len(_STYLES)]
    style: Dict[str, Any] = {"color": color, "linewidth": width, "linestyle": line}
    return {**style, "marker": marker, "markersize": size} if markers else style


def save_picture(figure: Any, folder: Path, name: str) -> List[Path]:
    """Write `name`.png and `name`.svg and close the figure; the paths written.

    The canvases are asked directly, and the layout is found once for both: `savefig` lays out and
    draws a figure two times for each file.
    """
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    figure.set_dpi(DPI)
    FigureCanvasAgg(figure).print_png(paths[0])
    figure.set_layout_engine("none")
    FigureCanvasSVG(figure).print_svg(paths[1], metadata={"Date": None})
    plt.close(figure)
    return paths
