"""A finished run comes back and predicts what it predicted."""

from dataclasses import replace

import pytest
import torch

from experiments.progress import Reporter
from experiments.restore import restore
from experiments.results import metrics_of
from experiments.run import run
from inference.evaluation import evaluate
from pyro_sib.errors import InputError
from pyro_sib.files import read_json, read_tensors, write_json, write_tensors
from tests.experiments.test_run import small, write_features

__all__ = ["small"]


@pytest.mark.parametrize("setting", ["standard", "lwof"])
def test_a_restored_run_predicts_the_same(small, setting):
    small = replace(small, setting=setting, compare=False)
    result = run(small)
    back = restore(small.out, Reporter(), small.cache_dir)
    scores = evaluate(back.program.guide, back.sources["evaluate"], small.eval_tasks, small.draws)[0]
    assert metrics_of(scores) == result["metrics"]
    assert back.split == "test"
    assert not any(module.training for module in back.program.modules().values())


def test_what_is_no_finished_run_is_refused(small, tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        restore(tmp_path / "nowhere", Reporter())
    run(replace(small, compare=False))
    out = small.out
    other = write_features(tmp_path / "other.npz", rows=25)
    with pytest.raises(InputError, match="is a run on other data"):
        restore(out, Reporter(), small.cache_dir, features=other)
    config = read_json(out / "config.json")
    write_json(out / "config.json", {**config, "colour": 1})
    with pytest.raises(InputError, match="settings that this version does not know: colour"):
        restore(out, Reporter(), small.cache_dir)
    write_json(out / "config.json", config)
    tensors, meta = read_tensors(out / "sib.safetensors")
    moved = {name.replace("initializer.weight", "weight"): tensor for name, tensor in tensors.items()}
    write_tensors(out / "sib.safetensors", moved, meta)
    with pytest.raises(InputError, match=r"sib\.safetensors is of another version of this package; train it again"):
        restore(out, Reporter(), small.cache_dir)
    broken = {name: t + torch.nan if name == "best.likelihood.log_scale" else t for name, t in tensors.items()}
    write_tensors(out / "sib.safetensors", broken, meta)
    with pytest.raises(InputError, match=r"sib\.safetensors holds parameters that are NaN or infinite; delete it"):
        restore(out, Reporter(), small.cache_dir)
    (out / "sib.safetensors").unlink()
    with pytest.raises(InputError, match=r"sib\.safetensors is missing; finish the run"):
        restore(out, Reporter(), small.cache_dir)
