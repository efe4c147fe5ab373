"""A module's parameters in Pyro's store, and a word where another module's are already there under its name."""

import pyro
from pyro.params import param_with_module_name
from pyro.poutine.runtime import _PYRO_STACK
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor, nn


def register(name: str, module: nn.Module) -> None:
    """`pyro.module`, which keeps the first module of a name and lets any other go untrained without a word.

    Raises:
        RuntimeError: SVI asks for what to train, and the store holds another module's parameters under this name.
    """
    for own, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        full = param_with_module_name(name, own)
        held = pyro.param(full, parameter)
        if held is not parameter and _is_other(full, parameter) and _svi_listens():
            raise RuntimeError(
                f"Pyro's parameter store already holds a parameter {full} of another program, so SVI would train "
                f"that one and not this program's; call pyro.clear_param_store() between two programs, or train "
                f"each in a `with pyro.get_param_store().scope():` of its own"
            )


def _is_other(name: str, parameter: Tensor) -> bool:
    """Whether the store has another tensor there, and no handler has merely put its own in the place."""
    store = pyro.get_param_store()
    return name in store and store[name]._cdata != parameter._cdata


def _svi_listens() -> bool:
    """Whether SVI collects the parameters of this call, which it then steps."""
    return any(isinstance(handler, TraceMessenger) and handler.param_only for handler in _PYRO_STACK)
