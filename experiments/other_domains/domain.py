"""The features of domains: by a named network from pictures, or one's own from files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyro_sib.data import Split
from pyro_sib.data.feature_range import in_single_precision
from pyro_sib.data.fingerprint import fingerprint
from pyro_sib.data.formats.npz import opened_npz
from pyro_sib.data.names import TEST
from pyro_sib.data.readers import read_new_classes
from pyro_sib.errors import InputError, argument
from pyro_sib.experiments.job.features import say_notes
from pyro_sib.experiments.other_domains.folders import DomainFolder, check_enough, named_apart
from pyro_sib.experiments.other_domains.grid import Form
from pyro_sib.experiments.other_domains.network import Network
from pyro_sib.experiments.terminal.escape import one_line
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.features.bank import build_bank
from pyro_sib.features.outside import known_to
from pyro_sib.files import check_writable
from pyro_sib.inference.inputs import sort_examples


@dataclass(frozen=True)
class Domain:
    """Features of classes that nobody trained on.

    Attributes:
        name: of the domain.
        split: (n, D) float32 by class.
        fingerprint: of the features, labels and names of classes.
    """

    name: str
    split: Split
    fingerprint: str


def domain_of_pictures(
    folder: DomainFolder, network: Network, forms: Sequence[Form], cache: Path, device: torch.device, say: Reporter
) -> Domain:
    """Decode and compute features, each from the cache where it is there.

    Args:
        folder: of the domain.
        network: for the features.
        forms: of the tasks.
        cache: folder of kept pictures and features.
        device: where to compute.
        say: told what is done.

    Raises:
        InputError: a picture that cannot be read, or too few without copies.
    """
    return _checked(folder.name, features_of(folder, network, cache, device, say), forms)


def features_of(folder: DomainFolder, network: Network, cache: Path, device: torch.device, say: Reporter) -> Split:
    """Decode a domain's pictures and compute their features, each from the cache where it is there.

    Raises:
        InputError: a picture that cannot be read.
    """
    for part in ("images", "banks"):
        check_writable(cache / part, "--cache-dir")
    name = one_line(folder.name)
    with say.stage("data", f"{name}: pictures") as advance:
        data = read_new_classes(
            folder.path, folder.found, network.image_size, cache / "images", advance, network.fit
        )
    say_notes(data, say)
    size, pixels, title = network.image_size, network.pixels, f"{name}: features by {network.name}"
    bank = build_bank(
        data,
        network.backbone,
        device,
        cache / "banks",
        pixels=pixels,
        size=size,
        watched=lambda split: say.stage("bank", title),
    )
    return bank.split(TEST)


def check_folders(folders: Sequence[DomainFolder], network: Network, forms: Sequence[Form]) -> None:
    """Refuse, before a picture is decoded, domains that cannot serve.

    Raises:
        InputError: too few classes or pictures, or classes that the network was trained on.
    """
    for folder in folders:
        names = folder.listing.class_names
        check_enough(folder.name, names, folder.listing.counts.tolist(), forms)
        if network.outside is None:
            known = sorted(set(network.classes) & set(names))
        else:
            known = known_to(network.name, folder.name, names)
        if known:
            raise InputError(
                f"{argument('network')} {network.name} was trained on {known[0]} and perhaps other classes of the "
                f"domain {folder.name}; measure on classes that it does not know"
            )


def domains_of_features(paths: Sequence[Path], forms: Sequence[Form], reporter: Reporter) -> list[Domain]:
    """A domain from each .npz file with x, (n, D) floats, and y, (n,) labels.

    Raises:
        InputError: a file that is missing, damaged or not as above, or files of different D.
    """
    found = []
    for name, path in zip(named_apart(argument("features"), paths), paths, strict=True):
        x, y = _arrays(path)
        scaled, notes = in_single_precision(path, {"x": sort_features(path, x)})
        for note in notes:
            reporter.warn(note)
        classes, labels = np.unique(y, return_inverse=True)
        order = torch.from_numpy(np.argsort(labels, kind="stable"))
        rows = scaled["x"][order]
        split = Split(rows, torch.from_numpy(labels).long()[order], tuple(map(str, classes.tolist())))
        found.append(_checked(name, split, forms))
    widths = [domain.split.x.shape[1] for domain in found]
    if len(set(widths)) > 1:
        raise InputError(
            f"{argument('features')} hold features of {min(widths)} and of {max(widths)} numbers; "
            f"compute all with one network"
        )
    return found


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with opened_npz(path) as file:
            missing = [name for name in ("x", "y") if name not in file.files]
            if missing:
                raise InputError(f"{path} has no array {missing[0]}; save x, (n, D) floats, and y, (n,) labels")
            x, y = file["x"], file["y"]
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{argument('features')} {path} does not exist; save x and y there by np.savez") from None
    except Exception as error:  # damaged archives and headers surface as almost any exception
        what = " ".join(str(error).split())[:120]
        raise InputError(f"{path} is not a readable .npz file ({what}); save it again with np.savez") from None
    if y.ndim != 1 or y.dtype.kind not in "iuU" or len(y) != len(x):
        raise InputError(
            f"{path}: y should be one whole number or text for each of the {len(x)} rows of x but is "
            f"{y.shape} {y.dtype}; mend the labels"
        )
    return x, y


def sort_features(path: Path, x: np.ndarray) -> Tensor:
    """(n, D) finite float32.

    Raises:
        InputError: they are not.
    """
    if x.ndim != 2 or x.dtype.kind != "f" or not len(x):
        raise InputError(f"{path}: x should be (n, D) floats but is {x.shape} {x.dtype}; convert the features")
    found = sort_examples(x, f"{path}: x").features
    assert found is not None
    return found


def _checked(name: str, split: Split, forms: Sequence[Form]) -> Domain:
    check_enough(name, split.class_names, split.counts.tolist(), forms)
    return Domain(name, split, fingerprint({TEST: split}))
