"""SavedModels, TF1 and TF2, and TF1 Hub modules: graphs, and a V2 bundle under ``variables/``.

Layout: ``tensorflow:python/saved_model/constants.py``.  A SavedModel without variables is legal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckpttool.errors import Problem
from ckpttool.formats.locating.located import Located

if TYPE_CHECKING:
    from ckpttool.formats.tensorflow.bundle import BundleReader
    from ckpttool.formats.tensorflow.meta_graph import GraphReader


def open_saved_model(located: Located, *, salvage: bool = False) -> BundleReader | GraphReader:
    """Open a located SavedModel; ``salvage`` as for a bundle."""
    if located.index is not None:
        from ckpttool.formats.tensorflow.bundle import open_bundle

        return open_bundle(located, salvage=salvage)
    from ckpttool.formats.tensorflow.meta_graph import GraphReader

    if any(problem.code == "INP012" for problem in located.notices):
        return GraphReader(located)
    notice = Problem("INP012", "this SavedModel has no variables/: only a graph", located.path)
    return GraphReader(located, notice)
