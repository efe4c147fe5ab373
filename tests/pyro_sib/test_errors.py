import pickle

import pytest

from pyro_sib.errors import InputError, StorageError, argument, storage_error
from pyro_sib.features.recipe import PretrainSettings
from pyro_sib.inference import GuideSettings
from pyro_sib.inference.exact.settings import ChainSettings
from pyro_sib.inference.settings.training import TrainSettings
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.tasks.propagation import Propagation
from pyro_sib.tasks.shape import EpisodeShape


def _error() -> InputError:
    return InputError(f"steps.csv: {argument('step_size')} -1 of steps; lower {argument('steps')}")


def test_bad_input_is_a_value_error_and_a_disk_is_an_os_error_too():
    assert isinstance(_error(), ValueError)
    full = storage_error(OSError(28, "No space left on device"), "a")
    assert isinstance(full, StorageError)
    assert isinstance(full, ValueError)
    assert isinstance(full, OSError)
    assert full.errno == 28
    assert str(full) == full.said_with({}) == full.args[0]


def test_arguments_alone_are_named_otherwise():
    error = _error()
    assert str(error) == "steps.csv: step_size -1 of steps; lower steps"
    assert error.said_with({"steps": "--steps"}) == "steps.csv: step_size -1 of steps; lower --steps"
    error.rename({"step_size": "steps", "steps": "outer_steps"})
    assert str(error) == "steps.csv: steps -1 of steps; lower outer_steps"
    assert error.said_with({"steps": "--steps"}) == "steps.csv: --steps -1 of steps; lower outer_steps"


def test_errors_pass_from_process_to_process():
    again = pickle.loads(pickle.dumps(_error()))
    assert str(again) == str(_error())
    assert again.said_with({"steps": "--steps"}) == _error().said_with({"steps": "--steps"})


@pytest.mark.parametrize(
    ("made", "change", "says"),
    [
        (GuideSettings, {"step_size": -1.0}, "step_size -1.0: a finite positive number is needed"),
        (GuideSettings, {"steps": -1}, "steps -1: 0 or more is needed"),
        (GuideSettings, {"step_samples": -1}, "step_samples -1: 0 (at the mean) or more is needed"),
        (GuideSettings, {"initial_scale": 0.0}, "initial_scale 0.0: 1e-12 to 1e+06 is needed"),
        (GuideSettings, {"fit_steps": 0}, "fit_steps 0: 1 or more is needed"),
        (TrainSettings, {"batch_size": 0}, "batch_size 0: a positive number is needed"),
        (TrainSettings, {"learning_rate": 0.0}, "learning_rate 0.0: a finite positive number is needed"),
        (PretrainSettings, {"learning_rate": 0.0}, "learning_rate 0.0: a finite positive number is needed"),
        (PretrainSettings, {"epochs": 0}, "epochs 0: 1 or more is needed"),
        (ObjectiveWeights, {"kl": -1.0}, "kl -1.0: a finite number of 0 or more is needed"),
        (EpisodeShape, {"base_queries": -1}, "base_queries -1: 0 or more is needed"),
        (Propagation, {"strength": 1.0}, "strength 1.0: 0 (none) or more, and less than 1, is needed"),
        (ChainSettings, {"target_accept": 1.0}, "target_accept 1.0: a number between 0 and 1 is needed"),
    ],
)
def test_the_library_names_arguments(made, change, says):
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        made(**change)
    assert str(raised.value) == says
