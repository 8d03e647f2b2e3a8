"""The README tells the truth about what is there; its commands run in .ci/run."""

import argparse
import re

import pytest
from conftest import ROOT

import model
from support.arguments import train_arguments

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_file_it_points_to_exists():
    targets = [target for target in re.findall(r'\]\(([^)#]+)\)|src="([^"]+)"', README)]
    local = [first or second for first, second in targets if not (first or second).startswith("http")]
    assert len(local) > 10
    for target in local:
        assert (ROOT / target).exists(), target


def test_every_script_and_module_in_its_commands_exists():
    for words in re.findall(r"python (-m )?([\w.]+)", README):
        name = words[1]
        if words[0] and name not in ("pytest", "venv"):
            assert (ROOT / (name.replace(".", "/") + ".py")).exists(), name
        elif name.endswith(".py"):
            assert (ROOT / name).exists(), name


def test_nothing_is_left_to_fill_in_and_the_table_is_what_model_py_prints(capsys):
    assert not re.search(r"@[A-Z]+@", README)
    settings = {"upsample": None, "batchnorm": False, "width": 16, "depth": 3, "dropout": 0.0, "separable": False}
    model.main(argparse.Namespace(model="fcn", size=256, classes=2, **settings))
    assert capsys.readouterr().out.strip() in README


def test_every_knob_of_the_training_has_its_default_in_its_help(capsys):
    with pytest.raises(SystemExit):
        train_arguments(["--help"])
    text = " ".join(capsys.readouterr().out.split()).split("options:")[1]
    for name, default in vars(train_arguments([])).items():
        if isinstance(default, (int, float)) and not isinstance(default, bool):
            described = text.split(f" --{name.replace('_', '-')} ")[1].split(" --")[0]
            assert f"({default:g}" in described, name


def test_the_demonstration_shows_the_jitter_of_the_training():
    jitter = re.search(r"jitter=([\d.]+)", (ROOT / "data.py").read_text(encoding="utf-8")).group(1)
    assert float(jitter) == train_arguments([]).jitter
