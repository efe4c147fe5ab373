"""Adam over all parameters at once, in the form that Pyro's SVI takes."""

from collections.abc import Iterable, Mapping
from math import sqrt
from typing import Any

import torch
from pyro.optim import PyroOptim
from torch import Tensor, nn

_BETAS, _EPSILON = (0.9, 0.999), 1e-8
"""Kingma & Ba's (2015), and torch's."""


class JointAdam(PyroOptim):
    """Adam over a fixed list of named parameters, laid end to end in one vector.

    Pyro's own wrapper keeps one optimizer for each parameter, which costs more than a whole small step, and the
    first step of torch's imports its compiler, seconds that a short run waits for. The parameters become views of
    the vector. One that got no gradient counts as having got a zero one.

    Args:
        parameters: name -> parameter, all of one dtype and on one device; the names key the saved state.
        learning_rate: the first learning rate.
        clip: norm to which longer gradients are shortened; 0 leaves them.

    Raises:
        ValueError: parameters of several dtypes or devices, or made in inference mode.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], learning_rate: float, clip: float = 0.0):
        self.names = tuple(parameters)
        self.parameters = tuple(parameters.values())
        if any(p.is_inference() for p in self.parameters):
            raise ValueError("the parameters were made in torch.inference_mode, and none of them can be trained")
        if len({(p.dtype, p.device) for p in self.parameters}) != 1:
            raise ValueError("one optimizer holds parameters of one dtype on one device")
        self._known = {id(p) for p in self.parameters}
        self.learning_rate, self.clip, self.steps = learning_rate, clip, 0
        self.vector = torch.cat([p.detach().flatten() for p in self.parameters])
        self.mean, self.square = torch.zeros_like(self.vector), torch.zeros_like(self.vector)
        for parameter, part in zip(self.parameters, self._parts(self.vector), strict=True):
            parameter.data = part
        self._places = tuple(p.data_ptr() for p in self.parameters)

    def _parts(self, vector: Tensor) -> list[Tensor]:
        """Views of the vector in the parameters' shapes."""
        parts = vector.split([p.numel() for p in self.parameters])
        return [part.view(p.shape) for part, p in zip(parts, self.parameters, strict=True)]

    def __call__(self, params: Iterable[Tensor], *args: Any, **kwargs: Any) -> None:
        """Step; `params` are those that the ELBO saw.

        Raises:
            ValueError: the program registered a parameter that this optimizer was not given, or one has been moved.
        """
        if any(p.data_ptr() != place for p, place in zip(self.parameters, self._places, strict=True)):
            raise ValueError("a parameter was moved or cast after the optimizer was made; make the optimizer anew")
        if any(id(p) not in self._known for p in params):
            raise ValueError("the program registered a parameter that the optimizer does not hold")
        with torch.no_grad():
            gradients = [p.new_zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in self.parameters]
            self._step(torch.cat(gradients))
        for parameter in self.parameters:
            parameter.grad = None

    def _step(self, gradient: Tensor) -> None:
        self.steps += 1
        if self.clip:
            gradient = gradient * (self.clip / gradient.norm().clamp_min(self.clip))
        of_mean, of_square = (1 - beta**self.steps for beta in _BETAS)
        self.mean.lerp_(gradient, 1 - _BETAS[0])
        self.square.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        spread = self.square.sqrt().div_(sqrt(of_square)).add_(_EPSILON)
        self.vector.addcdiv_(self.mean, spread, value=-self.learning_rate / of_mean)

    def set_learning_rate(self, value: float) -> None:
        """Use this learning rate from now on."""
        self.learning_rate = value

    def get_state(self) -> dict[str, Tensor]:
        """Flat tensors: `NAME.step`, `NAME.exp_avg`, `NAME.exp_avg_sq`, as torch's Adam names them."""
        moments = zip(self.names, self._parts(self.mean), self._parts(self.square), strict=True)
        state: dict[str, Tensor] = {}
        for name, mean, square in moments:
            state |= {
                f"{name}.step": torch.tensor(float(self.steps)),
                f"{name}.exp_avg": mean.clone(),
                f"{name}.exp_avg_sq": square.clone(),
            }
        return state

    def set_state(self, state_dict: Mapping[str, Tensor]) -> None:
        """Take up a state from `get_state`.

        Raises:
            KeyError: a parameter has no state there.
        """
        for name, mean, square in zip(self.names, self._parts(self.mean), self._parts(self.square), strict=True):
            self.steps = int(state_dict[f"{name}.step"])
            mean.copy_(state_dict[f"{name}.exp_avg"])
            square.copy_(state_dict[f"{name}.exp_avg_sq"])
