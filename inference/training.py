"""Algorithm 1 as SVI: the loop, the best epoch, and checkpoints that resume to the same bits."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro.infer import SVI
from torch import Tensor, nn

from pyro_sib.counter_rng import make_key
from pyro_sib.errors import InputError, argument
from pyro_sib.inference.optimizer import JointAdam
from pyro_sib.inference.settings.training import OBJECTIVES, SCHEDULES, TrainSettings
from pyro_sib.tensor_files import read_tensors, write_tensors
from pyro_sib.torch_state import gradients_on
from pyro_sib.types import Episode

_MEND = f"choose another {argument('checkpoint')} or delete it"


@dataclass(frozen=True)
class EpochRecord:
    """One line of the training log: mean loss of the epoch, selection accuracy, learning rate.

    The accuracy is in percent; in regression it is minus the mean squared error. Higher is better. What else the
    caller measures goes into `extra`, so that it is saved and resumed with the rest.
    """

    epoch: int
    iteration: int
    loss: float
    accuracy: float
    learning_rate: float
    extra: dict[str, list[float]] = field(default_factory=dict)


def _not_finite(loss: float, iteration: int) -> str:
    """One line on a loss that is no number to go on from."""
    what = "NaN" if loss != loss else "infinite"
    if iteration == 0:
        return (
            f"the loss was {what} at the first iteration, before anything was learned; look for features that are "
            f"not finite, or choose a smaller {argument('step_size')}, {argument('predictor_scale')} or "
            f"{argument('kl')}"
        )
    return (
        f"the loss became {what} by iteration {iteration + 1}; lower {argument('learning_rate')}, "
        f"{argument('step_size')} or {argument('kl')}"
    )


def best_of(log: Sequence[EpochRecord], select_by: str) -> EpochRecord:
    """The epoch whose parameters are kept: the last one of those that have most, and none for being NaN.

    Args:
        log: of the epochs, one at least.
        select_by: one of SELECT_BY; what is not the accuracy is in each record's `extra`.
    """

    def rank(record: EpochRecord) -> tuple[bool, float, int]:
        score = record.accuracy if select_by == "accuracy" else record.extra[select_by][0]
        return (True, score, record.epoch) if score == score else (False, 0.0, -record.epoch)

    return max(log, key=rank)


def has_diverged(log: Sequence[EpochRecord]) -> bool:
    """Whether the loss ended far above its first epoch's, by a nat and by as much again."""
    first, last = log[0].loss, log[-1].loss
    return last > first + max(1.0, abs(first))


class Trainer:
    """SVI over a model and a guide whose parameters live in modules.

    Args:
        model: the Pyro model, called with an Episode.
        guide: the Pyro guide, called with the same Episode.
        modules: everything that is trained or saved, by name; the names are those of `pyro.module`.
        settings: the budget.
        checkpoint: safetensors file with the whole state, rewritten after every epoch.
        identity: of the data and features trained on; a checkpoint of others is refused.
    """

    def __init__(
        self,
        model: Callable[[Episode], object],
        guide: Callable[[Episode], object],
        modules: Mapping[str, nn.Module],
        settings: TrainSettings,
        checkpoint: Path,
        identity: str = "",
    ):
        self.modules, self.settings, self.checkpoint, self.identity = modules, settings, checkpoint, identity
        self.model, self.guide = model, guide
        trained = {name: p for name, p in self._named_parameters() if p.requires_grad}
        self.optimizer = JointAdam(trained, settings.learning_rate, settings.clip)
        self.log: list[EpochRecord] = []
        self.best: dict[str, Tensor] = {}

    def _named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        return [(f"{m}.{n}", p) for m, module in self.modules.items() for n, p in module.named_parameters()]

    def state(self) -> dict[str, Tensor]:
        """All modules' tensors, cloned, as `MODULE.NAME`."""
        return {
            f"{m}.{n}": t.detach().clone()
            for m, module in self.modules.items()
            for n, t in module.state_dict().items()
        }

    def run(
        self,
        batch: Callable[[int], Episode],
        validate: Callable[[], float],
        on_iteration: Callable[[int, int], None] = lambda done, total: None,
        on_epoch: Callable[[EpochRecord], None] = lambda record: None,
        measure: Callable[[], dict[str, list[float]]] = dict,
    ) -> None:
        """Train to the end, or on from the checkpoint; the modules then hold the best epoch's values.

        Every draw of iteration i derives from (seed, i), so a resumed run equals an unbroken one.

        Args:
            batch: iteration -> a batch of training episodes.
            validate: accuracy in percent, or minus an error: what the best epoch has most of, unless the settings
                name something else that `measure` measures.
            on_iteration: told (iterations done, iterations in all).
            on_epoch: told each epoch's record.
            measure: what else to record of an epoch, by name; called after `validate`.
        """
        if self.checkpoint.exists():
            self._load()
        devices = [0] if torch.cuda.is_available() else []
        # A step costs a tenth more with Pyro's validation; the loss is checked for NaN each epoch instead.
        quick = pyro.validation_enabled(False)
        with (
            gradients_on(),
            quick,
            pyro.get_param_store().scope(),
            torch.random.fork_rng(devices=devices),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", "Encountered (NaN|.?inf)")  # Pyro's; such a loss ends the training
            elbo = OBJECTIVES[self.settings.objective](
                num_particles=self.settings.particles,
                vectorize_particles=self.settings.particles > 1,
                max_plate_nesting=2,
            )
            svi = SVI(self.model, self.guide, self.optimizer, elbo)
            for epoch in range(len(self.log), self.settings.epochs):
                record = self._epoch(svi, epoch, batch, validate, on_iteration, measure)
                self.log.append(record)
                if best_of(self.log, self.settings.select_by) is record:
                    self.best = self.state()
                self._save()
                on_epoch(record)
        load_state(self.modules, self.best)
        # The optimizer has all parameters in one piece of memory, and where a number lies decides on the last bits
        # of products with it: with memory of their own they give what they will give once they are saved and read.
        for _, parameter in self._named_parameters():
            parameter.data = parameter.data.clone()

    def _epoch(
        self,
        svi: SVI,
        epoch: int,
        batch: Callable[[int], Episode],
        validate: Callable[[], float],
        on_iteration: Callable[[int, int], None],
        measure: Callable[[], dict[str, list[float]]],
    ) -> EpochRecord:
        settings = self.settings
        first, last = (settings.iterations * e // settings.epochs for e in (epoch, epoch + 1))
        for module in self.modules.values():
            module.train()
        losses = []
        rate = settings.learning_rate
        for iteration in range(first, last):
            rate = settings.learning_rate * SCHEDULES[settings.schedule](iteration / settings.iterations)
            self.optimizer.set_learning_rate(rate)
            _seed(make_key("svi", settings.seed, iteration) & (2**63 - 1))
            losses.append(svi.step(batch(iteration)))
            if not isfinite(losses[-1]):
                raise InputError(_not_finite(losses[-1], iteration))
            on_iteration(iteration + 1, settings.iterations)
        for module in self.modules.values():
            module.eval()
        loss = sum(losses) / max(len(losses), 1)
        return EpochRecord(epoch + 1, last, loss, validate(), rate, measure())

    def _save(self) -> None:
        tensors = {f"now.{k}": v for k, v in self.state().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        tensors |= {f"adam.{k}": v for k, v in self.optimizer.get_state().items()}
        meta = {"settings": asdict(self.settings), "identity": self.identity, "log": [asdict(r) for r in self.log]}
        write_tensors(self.checkpoint, tensors, meta)

    def _load(self) -> None:
        tensors, meta = read_tensors(self.checkpoint)
        if not {"settings", "identity", "log"} <= meta.keys():
            raise InputError(f"{self.checkpoint} is no checkpoint of a training; {_MEND}")
        if meta["settings"] != asdict(self.settings):
            raise InputError(f"{self.checkpoint} is of other settings; {_MEND}")
        if meta.get("identity") != self.identity:
            raise InputError(f"{self.checkpoint} was trained on other data, features or settings; {_MEND}")
        try:
            self._fill(tensors, meta["log"])
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError):
            raise InputError(f"{self.checkpoint} is damaged or of another version; {_MEND}") from None

    def _fill(self, tensors: dict[str, Tensor], log: list[dict[str, Any]]) -> None:
        parts: dict[str, dict[str, Tensor]] = {"now": {}, "best": {}, "adam": {}}
        for name, tensor in tensors.items():
            part, rest = name.split(".", 1)
            parts[part][rest] = tensor
        try:
            load_state(self.modules, parts["now"])
        except RuntimeError:
            raise InputError(f"{self.checkpoint} is of another version of this package; {_MEND}") from None
        self.best = parts["best"]
        self.optimizer.set_state(parts["adam"])
        self.log = [EpochRecord(**record) for record in log]


def _seed(seed: int) -> None:
    """What `torch.manual_seed` does to the devices in use; looking for others, it takes a twentieth of a step."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def load_state(modules: Mapping[str, nn.Module], state: Mapping[str, Tensor]) -> None:
    """Fill the modules with `MODULE.NAME` tensors.

    Raises:
        RuntimeError: one is missing, is not a module's, or has another shape.
    """
    for name, module in modules.items():
        own = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
        module.load_state_dict(own)
