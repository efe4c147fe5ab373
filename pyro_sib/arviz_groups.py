"""Groups of arrays as the installed line of ArviZ holds them: InferenceData before 1.0, a DataTree from 1.0 on."""

from collections.abc import Mapping
from typing import Any


def to_arviz(groups: Mapping[str, Any], attributes: Mapping[str, Any]) -> Any:
    """`arviz.InferenceData`, or `xarray.DataTree` from ArviZ 1.0 on.

    Args:
        groups: name -> xarray.Dataset.
        attributes: of the whole.
    """
    import arviz as az  # a second to import, and a prediction needs it not
    import xarray as xr

    if int(az.__version__.split(".")[0]) >= 1:
        tree = xr.DataTree.from_dict(dict(groups))
        tree.attrs.update(attributes)
        return tree
    return az.InferenceData(**groups, attrs=dict(attributes))
