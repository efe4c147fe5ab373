"""Every part that a run can be made of, with a line each."""

from pyro_sib.experiments.options.names import lines
from pyro_sib.inference import BASELINES, GUIDES
from pyro_sib.inference.initializers import INITIALIZERS
from pyro_sib.inference.steps import SYNTHETIC_GRADIENTS
from pyro_sib.models import PRIORS
from pyro_sib.on_demand import Registry

KINDS: dict[str, Registry] = {
    "guides (--guide)": GUIDES,
    "baselines without a posterior (--guide)": BASELINES,
    "priors (--prior)": PRIORS,
    "synthetic gradients, xi (--synthetic-gradient)": SYNTHETIC_GRADIENTS,
    "initializers, lambda (--initializer)": INITIALIZERS,
}


def catalogue() -> str:
    """One line for each name, the first of its docstring."""
    width = max(len(name) for parts in KINDS.values() for name in parts)
    found = []
    for kind, parts in KINDS.items():
        found += [kind, *(f"  {name:{width}}  {line}" for name, line in lines(parts)), ""]
    return "\n".join(found)
