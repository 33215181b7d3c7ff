"""The picture of a layer profile: a bar a layer, PNG and SVG."""

from __future__ import annotations

from pathlib import Path
from typing import List

from ...report.pictures import plt, save_picture
from .document import ProfileDocument, layer_rows
from .report import select_rows

SHOWN_LAYERS = 30
_LONGEST_NAME = 34


def render_profile_picture(document: ProfileDocument, folder: Path) -> List[Path]:
    """Draw `layers.png` and `layers.svg`: forward and backward of the layers that take most."""
    rows = layer_rows(document)
    shown = select_rows(rows, SHOWN_LAYERS)
    with plt.rc_context({"svg.hashsalt": "oneflow-bench", "font.size": 9}):
        height = 1.6 + 0.26 * len(shown)
        figure, axes = plt.subplots(figsize=(10, height), layout="constrained")
        places = range(len(shown))
        forward = [row.forward.median * 1e3 for row in shown]
        backward = [row.backward.median * 1e3 if row.backward else 0.0 for row in shown]
        axes.barh(places, forward, color="#f0a030", edgecolor="#704800", label="forward")
        axes.barh(
            places, backward, left=forward, color="#103060", edgecolor="#103060", label="backward"
        )
        for place, row in zip(places, shown):
            text = f" {row.share * 100:.1f} %"
            axes.text(row.total_s * 1e3, place, text, va="center", fontsize=8)
        axes.set_yticks(list(places), [_shorten(f"{r.layer.name}  {r.layer.kind}") for r in shown])
        axes.invert_yaxis()
        axes.margins(x=0.08, y=0.01)
        axes.set_xlabel("milliseconds an iteration (median)")
        axes.legend(loc="best")
        axes.spines[["top", "right"]].set_visible(False)
        alone = "each layer compiled alone" if document.mode == "graph" else "eager"
        hidden = len(rows) - len(shown)
        more = f"; the {len(shown)} largest of {len(rows)} layers" if hidden else ""
        size = f"batch {document.batch_size}, {document.image_size} px"
        axes.set_title(f"{document.model}, {alone}, {size}{more}")
        return save_picture(figure, folder, "layers")


def _shorten(name: str) -> str:
    """The end of a long name: it tells layers apart."""
    return name if len(name) <= _LONGEST_NAME else "..." + name[-_LONGEST_NAME + 3 :]
