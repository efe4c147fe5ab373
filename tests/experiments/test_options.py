"""What the command line says of an error that the library raised."""

import pytest

from pyro_sib.errors import InputError, argument
from pyro_sib.experiments.ablate import AblateSettings
from pyro_sib.experiments.comparison.ablate import ablate
from pyro_sib.experiments.job.records import of_this_version
from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.experiments.sweep import SweepSettings
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.options import renamed
from pyro_sib.features.recipe import PretrainSettings
from pyro_sib.inference import GuideSettings
from tests.experiments.test_run import _csv_images, _main, write_features


def _raise(settings: object) -> None:
    assert settings is not None
    raise InputError(f"`steps` {argument('steps')} 1, {argument('data_root')} x, {argument('other')} y")


def test_options_of_the_running_command_alone_are_named(capsys):
    settings = RunSettings(setting="standard")
    assert run_command(_raise, settings) == 2
    assert capsys.readouterr().err == "error: `steps` --steps 1, --data-root x, other y\n"
    other = SweepSettings(runs=())
    assert run_command(_raise, other) == 2
    assert capsys.readouterr().err == "error: `steps` steps 1, data_root x, other y\n"
    assert run_command(lambda _: GuideSettings(step_size=-1.0), None) == 2
    assert capsys.readouterr().err.startswith("error: step_size -1.0: ")


def test_arguments_are_named_as_the_settings_they_came_from(capsys):
    settings = RunSettings(setting="standard")

    def learn(_):
        with renamed(learning_rate="pretrain_learning_rate"):
            PretrainSettings(learning_rate=-1.0)

    assert run_command(learn, settings) == 2
    assert capsys.readouterr().err.startswith("error: --pretrain-learning-rate -1.0: ")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--features {tmp}/good.npz --shots 20", "but --shots 20 + --queries 15 needs 35; lower them"),
        ("--features {tmp}/good.npz --ways 9", "fewer than the 9 of a task; lower --ways, or add classes"),
        (
            "--features {tmp}/good.npz --train-ways 9 --guide maml",
            "fewer than the 9 of a task; lower --train-ways, or add classes",
        ),
        ("--features {tmp}/good.npz --hold-out-classes 7", "--hold-out-classes 7: features has 8 base classes"),
        ("--features {tmp}/notest.npz --split test", "or choose another --split"),
        ("--data folders --data-root {tmp}/nowhere", "--data-root {tmp}/nowhere is not a folder"),
        ("--data folders --data-root {tmp}/empty", "or pass another --data-root"),
        ("--data mini-imagenet --data-root {tmp}/csv", "unpack the archive or pass another --data-root"),
    ],
)
def test_the_command_line_names_its_options(tmp_path, monkeypatch, capsys, options, says):
    write_features(tmp_path / "good.npz")
    write_features(tmp_path / "notest.npz", test_x=None, test_y=None)
    (tmp_path / "empty").mkdir()
    (_csv_images(tmp_path / "csv") / "images" / "train00000.jpg").unlink()
    where = ["--out", str(tmp_path / "out"), "--cache-dir", str(tmp_path / "cache")]
    code, stderr = _main(
        monkeypatch, capsys, "--setting", "standard", *options.format(tmp=tmp_path).split(), *where
    )
    assert code == 2
    assert says.format(tmp=tmp_path) in stderr
    assert stderr.count("\n") == 1


def test_a_missing_list_is_not_taken_for_a_wrong_number(tmp_path):
    with pytest.raises(InputError, match=r"^--shots is empty; name at least one$"):
        ablate(AblateSettings(data_root=tmp_path, shots="", out=tmp_path))


def test_what_an_error_says_is_not_put_down_to_the_version(tmp_path):
    with pytest.raises(InputError, match=r"^mine$"), of_this_version(tmp_path):
        raise InputError("mine")
