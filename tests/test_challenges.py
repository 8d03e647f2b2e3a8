"""What ships with the challenges fits together: weights, settings, class tables."""

from conftest import ROOT

import train
from checkpoint import load_checkpoint
from data import read_classes

STREETS = ROOT / "challenges" / "cityscapes"


def test_the_weights_for_street_scenes_fit_their_settings_and_classes(monkeypatch):
    monkeypatch.chdir(ROOT)
    args = train.parse_arguments([f"@{STREETS / 'camvid.args'}", "--data", "camvid/train"])
    model, facts = load_checkpoint(STREETS / "camvid.pt")
    assert (facts["classes"], facts["ignore"]) == read_classes(args.classes)
    assert [one["value"] for one in facts["classes"]] == list(range(11))
    assert (model.name, model.arguments["width"], model.arguments["depth"]) == (args.model, args.width, args.depth)
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_093_511
    given_by_hand = ("data", "out", "resume", "device", "amp", "time_limit", "reuse")
    for name, value in vars(args).items():
        assert name in given_by_hand or facts["settings"][name] == value, name
