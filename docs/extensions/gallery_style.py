"""The style of the figures of the gallery."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl

# A figure is as wide as a phone, with text of a size that can be read there. Its background is
# white in dark mode too.
STYLE = {
    "figure.figsize": (4.8, 3.6),
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


def reset(gallery_conf: dict[str, Any], script: str) -> None:
    """Set the style before each script, as sphinx-gallery's `reset_modules` expects."""
    mpl.rcParams.update(STYLE)
