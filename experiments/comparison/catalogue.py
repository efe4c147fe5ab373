"""Every part that a run can be made of, with a line each."""

from collections.abc import Mapping

from pyro_sib.inference import BASELINES, GUIDES
from pyro_sib.inference.initializers import INITIALIZERS
from pyro_sib.inference.steps.synthetic_gradients import SYNTHETIC_GRADIENTS
from pyro_sib.models import PRIORS

KINDS: dict[str, Mapping[str, object]] = {
    "guides (--guide)": GUIDES,
    "baselines without a posterior (--guide)": BASELINES,
    "priors (--prior)": PRIORS,
    "synthetic gradients, xi (--synthetic-gradient)": SYNTHETIC_GRADIENTS,
    "initializers, lambda (--initializer)": INITIALIZERS,
}


def catalogue() -> str:
    """One line for each name, the first of its docstring."""
    width = max(len(name) for parts in KINDS.values() for name in parts)
    lines = []
    for kind, parts in KINDS.items():
        lines += [kind, *(f"  {name:{width}}  {_summary(part)}" for name, part in parts.items()), ""]
    return "\n".join(lines)


def _summary(part: object) -> str:
    oracle = " [oracle: sees the queries' labels]" if getattr(part, "oracle", False) else ""
    return (part.__doc__ or "").strip().split("\n")[0].rstrip(".") + oracle
