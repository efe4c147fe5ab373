"""The command that trains a learner for tasks of any size, from pictures to its file, and what measures it."""

from dataclasses import replace
from pathlib import Path

import pytest

from pyro_sib.errors import InputError
from pyro_sib.experiments.domains import DomainsSettings
from pyro_sib.experiments.other_domains.domains import measure_domains
from pyro_sib.experiments.other_domains.train_any import command, train_any
from pyro_sib.experiments.other_domains.training_pictures import open_pictures
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.experiments.train_any import TrainAnySettings
from pyro_sib.inference.classifier import FewShotClassifier
from pyro_sib.inference.learner_file import load_learner, save_learner
from tests.experiments.test_domains import pictures


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    pictures(folder / "near", classes=3, count=14)
    pictures(folder / "far", classes=4, count=14)
    return folder


def test_from_pictures_to_a_learner_that_is_measured_and_told(folders, tmp_path, capsys):
    settings = TrainAnySettings(
        domains=(folders / "near",),
        made=(folders / "far",),
        network="mini-imagenet-c64f",
        iterations=4,
        epochs=2,
        coordinates=6,
        cache_dir=tmp_path / "cache",
        out=tmp_path / "out",
    )
    path = train_any(settings)
    before = path.read_bytes()
    learner = FewShotClassifier.load(path)
    assert learner.card.learner.guide == "gaussian-mixture"
    assert "experiments.train_any --domains near --made far " in learner.card.made["command"]
    assert "--network mini-imagenet-c64f" in learner.card.made["command"]
    assert str(folders) not in str(learner.card), "no path of a machine in a file that is passed on"
    assert learner.card.pictures.image_size == 84
    train_any(settings)
    assert path.read_bytes() == before
    asked = DomainsSettings(
        domains=(folders / "near",),
        network="mini-imagenet-c64f",
        learners=(str(path),),
        methods=("class-means",),
        ways=(3,),
        shots=("2",),
        balances=("dirichlet:2",),
        queries=3,
        tasks=2,
        told=True,
        cache_dir=tmp_path / "cache",
        out=tmp_path / "measured",
    )
    record = measure_domains(asked)
    names = [row.name for row in record.cells[0].rows]
    assert [name.endswith("told") for name in names] == [False, False, True, True]
    other = replace(asked, network="mini-imagenet-c128f", told=False, out=tmp_path / "other")
    assert len(measure_domains(other).cells[0].rows) == 2, "it serves the features of any network"
    said = capsys.readouterr()
    assert "was trained on features of c64f, and is measured on those of mini-imagenet-c128f" in " ".join(
        said.out.split()
    )
    assert "Features: mini-imagenet-c128f, 84 px, squash" in (tmp_path / "other" / "domains.md").read_text()
    trained = load_learner(path)
    save_learner(path, replace(trained, card=replace(trained.card, known_classes=("c1",))))
    with pytest.raises(
        InputError, match=r"the learner .* was trained on c1 and perhaps .* the domain near; measure"
    ):
        measure_domains(replace(other, out=tmp_path / "known"))


def test_domains_that_are_made_are_told_from_photographs(folders, tmp_path):
    settings = TrainAnySettings(
        **{"domains": (folders / "near",), "made": (folders / "far",), "network": "mini-imagenet-c64f"},
        cache_dir=tmp_path / "cache",
    )
    found = open_pictures(settings, tmp_path / "out", None, Reporter()).domains
    assert {name: domain.like_yours for name, domain in found.items()} == {"near": True, "far": False}
    with pytest.raises(InputError, match="twice"):
        open_pictures(replace(settings, made=settings.domains), tmp_path / "out", None, Reporter())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domains": ()}, "--domains, --made and --known are all missing"),
        ({"known": "nowhere"}, "--known .*nowhere is no folder"),
        ({"made": ("nowhere",)}, "--made .*nowhere is no folder"),
        ({"network": "none"}, "no feature network none"),
        ({"iterations": 0}, "--iterations 0"),
        ({"difficulty": 1.0}, "--difficulty 1"),
    ],
)
def test_what_cannot_be_trained_is_one_line(folders, tmp_path, changes, message):
    given = {"domains": (folders,)} | changes
    if "known" in given:
        given["known"] = tmp_path / given["known"]
    given["made"] = tuple(tmp_path / name for name in given.get("made", ()))
    with pytest.raises(InputError, match=message):
        TrainAnySettings(**given).check()


def test_the_card_has_the_command_that_trains_it_again():
    settings = TrainAnySettings(
        known=Path("/data/known"),
        domains=(Path("/data/one"), Path("/data/two")),
        made_up=False,
        learning_rate=0.006,
        cache_dir=Path("/elsewhere"),
        out=Path("/out"),
        threads=1,
    )
    assert command(settings).split()[2:] == [
        *("experiments.train_any", "--domains", "one", "two", "--known", "known"),
        *("--no-made-up", "--learning-rate", "0.006"),
    ]
