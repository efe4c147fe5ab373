"""Every test: Pyro's validation on, an empty parameter store, a fixed seed, one thread, no warning given once."""

import gc
import getpass
import os
import tempfile
from pathlib import Path

# Of the programs that tests start beside themselves: one thread, and bytecode that the next one finds, wherever the
# environment has Python write none.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["PYTHONDONTWRITEBYTECODE"] = ""
os.environ["PYTHONPYCACHEPREFIX"] = str(Path(tempfile.gettempdir()) / f"bytecode-of-tests-{getpass.getuser()}")

import pytest

# torch and Pyro are imported by the fixtures: the process that only hands tests to the workers needs neither.


def pytest_collection_modifyitems(items):
    """The long ones first, so that no worker is left with one when the others have ended."""
    items.sort(key=lambda item: "experiments" not in item.path.parts)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What is imported stays: half a million objects, which no collection of garbage need look through."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_sessionfinish():
    """Some of it does not bear to outlive the interpreter, and would say so."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _clean_pyro():
    import pyro
    import torch

    pyro.enable_validation(True)
    pyro.clear_param_store()
    torch.manual_seed(0)
    yield
    pyro.clear_param_store()


@pytest.fixture(autouse=True, scope="session")
def _torch():
    import torch

    torch.set_num_threads(1)
    # A warning is an error here, and one that is given once a process would fail whichever test came first.
    torch.set_warn_always(True)
