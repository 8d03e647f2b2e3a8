"""The pages tell the truth: files and commands are there, tables are what is printed, the page of code runs.

Commands are read from ```bash blocks and `inline code` of all pages and parsed by the script's own parser: a script or
an option that was renamed fails here.
"""

import argparse
import contextlib
import functools
import io
import re
import runpy
import shlex
from unittest import mock

import numpy as np
import pytest
import torch
from conftest import ROOT, command, inside
from PIL import Image

import metrics
from support.arguments import Retired, train_arguments
from support.sample import sample

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
PAGES = sorted([*PAGES, *(ROOT / "challenges").rglob("*.md"), *(ROOT / "lessons").glob("*.md")])
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
OF_OTHERS = "pytest", "venv", "pip"  # modules that are not ours
PLACEHOLDER = re.compile(r"[A-Z]+([_/-][A-Z]+)*(\.\w+)?|<.*>")  # DIR, IMAGE_DIR, LOGO.png
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text, language):
    """The contents of the fenced blocks of a language."""
    return [content for kind, content in FENCE.findall(text) if kind == language]


def without_blocks(text):
    return FENCE.sub("", text)


# ---------------------------------------------------------------------------------------------------
# Files


def anchors(text):
    """What GitHub calls the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", without_blocks(text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", NAMES)
def test_every_file_it_points_to_exists(name):
    text = without_blocks(read(name))
    targets = [first or second for first, second in re.findall(r'\]\(([^)\s]+)\)|src="([^"]+)"', text)]
    for target in targets:
        if target.startswith(("http:", "https:")):
            continue
        path, _, anchor = target.partition("#")
        page = (ROOT / name).parent / path if path else ROOT / name
        assert page.exists(), target
        if page.suffix == ".py":  # a line, as in #L22; the glossary's are looked at in tests/test_lessons.py
            assert not anchor or re.fullmatch(r"L\d+", anchor), target
        else:
            assert not anchor or anchor in anchors(page.read_text(encoding="utf-8")), target


def test_the_tree_of_files_is_whole():
    tree = re.search(r"## Files\n\n```\n(.*?)```", README, re.DOTALL).group(1)
    named = {word.strip(",/") for line in tree.splitlines() for word in line.split("    ")[0].split()}
    there = {path.name for path in ROOT.glob("*.py")}
    assert named >= there
    for name in named:
        assert (ROOT / name).exists(), name


def test_nothing_is_left_to_fill_in():
    for name in NAMES:
        assert not re.search(r"@[A-Z]+@|TODO|XXX", read(name)), name


# ---------------------------------------------------------------------------------------------------
# Commands


class Found(BaseException):
    """Raised where a script would parse its command line, to get hold of its parser."""


class Refused(Exception):
    """Raised where a parser would end the process."""


def refuse(parser, status=0, message=None):
    raise Refused(message if status else "")


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch):
    """Settings files in commands, @challenges/logo/train.args, are named as seen from there."""
    monkeypatch.chdir(ROOT)


def loosen(parser):
    """Let a parser take placeholders for any value, leave out what is required, and take no abbreviation."""
    parser.allow_abbrev = False
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                loosen(inner)
            continue
        action.required = False
        kind, choices, action.choices = action.type or str, action.choices, None

        def convert(text, kind=kind, choices=choices):
            if PLACEHOLDER.fullmatch(text):
                return text
            value = kind(text)
            if choices is not None and value not in choices:
                raise argparse.ArgumentTypeError(f"{text} is none of {list(choices)}")
            return value

        if action.nargs != 0:
            action.type = convert
    return parser


def has_parser(script):
    """Whether a file below the root is a script that parses its command line."""
    return bool(re.search(r"Parser\(|_arguments\(", read(script))) and "__main__" in read(script)


@functools.cache
def parser_of(script):
    """The parser of a script, a path below the root, as it begins to use it; None for a script without one."""
    if not has_parser(script):
        return None

    def stop(self, args=None, namespace=None):
        raise Found(self)

    with (
        mock.patch("sys.argv", [script]),
        mock.patch.object(argparse.ArgumentParser, "parse_known_args", stop),
        contextlib.suppress(SystemExit),
    ):
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except Found as found:
            return loosen(found.args[0])
    raise AssertionError(f"{script} parses nothing")


def parses(script, words, whole=False):
    """Parse the words by a script's parser: None, or what is wrong. `whole`: nothing may be missing between them."""
    parser = parser_of(script)
    words = [word for word in words if word != "..." and not word.startswith("@runs/")]
    if parser is None:
        is_none = "__main__" not in read(script)
        return f"{script} is no script" if is_none else f"{script} takes no arguments" if words else None
    if not whole:
        words = with_values(parser, words)
    options = parser._option_string_actions
    retired = [word for word in words if isinstance(options.get(word.split("=")[0]), Retired)]
    if retired:
        return f"{retired[0]} is no option any more"
    with mock.patch.object(argparse.ArgumentParser, "exit", refuse), contextlib.redirect_stdout(io.StringIO()):
        try:
            _, rest = parser.parse_known_args(words)
        except Refused as refused:
            return str(refused) or None
    if rest and script == "tools/crossvalidate.py":
        return parses("train.py", rest, whole)
    return f"{script} knows nothing of {rest}" if rest else None


def with_values(parser, words):
    """Put placeholders where an option that is only mentioned lacks its value, as in `--json`."""
    filled = []
    for place, word in enumerate(words):
        filled.append(word)
        action = parser._option_string_actions.get(word)
        if action is None or action.nargs in (0, "*", "?"):
            continue
        following = words[place + 1 : place + 2]
        if not following or following[0].startswith("--"):
            filled += ["DIR"] * (action.nargs if isinstance(action.nargs, int) else 1)
    return filled


def split_commands(line):
    """The commands of a line of shell, each as words, without remarks and redirections."""
    words, commands = shlex.split(line, comments=True), [[]]
    for word in words:
        if word in ("&&", "||", "|", ";"):
            commands.append([])
        elif ">" not in commands[-1]:
            commands[-1].append(word)
    return [[word for word in words if word != ">"] for words in commands if words]


def script_of(module):
    """The file that `python -m` runs, below the root."""
    path = module.replace(".", "/")
    return f"{path}/__main__.py" if (ROOT / path).is_dir() else f"{path}.py"


def find_script(words, page):
    """(script below the root or None, its words) of a command; a script that is not there is an AssertionError."""
    words = list(words)
    while words and re.fullmatch(r"\w+=.*", words[0]):  # OMP_NUM_THREADS=1
        del words[0]
    if words[:1] == ["taskset"]:
        del words[:3]
    if words[:1] == ["torchrun"]:
        while words and not words[0].endswith(".py"):
            del words[0]
        assert words, "torchrun starts a script"
    if words[:1] == ["python"]:
        del words[0]
        if words[0] == "-c":
            return None, []
        if words[0] == "-m":
            module, words = words[1], words[2:]
            if module in OF_OTHERS:
                return None, []
            script = script_of(module)
            assert (ROOT / script).is_file(), f"there is no module {module}"
            return script, words
        assert words[0].endswith(".py"), f"python {words[0]} starts no script"
    if not words:
        return None, []
    if re.fullmatch(r"(tools|benchmarks|challenges)(\.\w+)+", words[0]):
        script = script_of(words[0])
    elif words[0].endswith(".py"):
        beside = (page.parent / words[0]).resolve()
        script = beside.relative_to(ROOT.resolve()).as_posix() if beside.is_file() else words[0]
    else:
        return None, []
    assert (ROOT / script).is_file(), f"there is no {script}"
    return script, words[1:]


def block_commands(text):
    """The commands of all ```bash blocks, each as words."""
    for block in blocks(text, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            yield from split_commands(line)


def inline_code(text):
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", without_blocks(text))]


def is_command(code):
    """Whether inline code is a command, and not a name of something, an option or an expression."""
    return bool(
        re.match(r"(\w+=\S+ )*(taskset|torchrun|python) (?!-m$)|[\w/]+\.py (?![(=])|(tools|benchmarks)\.\w+ ", code)
    )


FILES = [path for folder in ("", "*/", "challenges/*/", "tools/*/") for path in ROOT.glob(f"{folder}*.*")]
SCRIPTS = [
    path
    for folder in (".", "tools", "tools/*", "benchmarks", "challenges/*")
    for path in sorted(ROOT.glob(f"{folder}/*.py"))
]
SCRIPTS = [script for script in (path.relative_to(ROOT).as_posix() for path in SCRIPTS) if has_parser(script)]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_in_a_block_can_be_typed(name):
    for words in block_commands(read(name)):
        if words[:2] == ["pip", "install"]:
            assert words[2] != "-r" or (ROOT / words[3]).is_file(), words
            continue
        script, rest = find_script(words, ROOT / "page")
        assert script is None or parses(script, rest, whole=True) is None, (words, parses(script, rest, whole=True))


@pytest.mark.parametrize("name", NAMES)
def test_every_command_and_option_in_the_text_is_there(name):
    for code in inline_code(read(name)):
        if is_command(code):
            script, rest = find_script(split_commands(code)[0], ROOT / name)
            assert script is None or parses(script, rest) is None, (code, parses(script, rest))
        elif re.match(r"--\w", code):
            wrong = [parses(script, shlex.split(code)) for script in SCRIPTS]
            assert None in wrong, code
        elif re.fullmatch(r"(tools|benchmarks|challenges)(\.\w+)+", code):
            assert (ROOT / script_of(code)).is_file(), code
        elif re.fullmatch(r"[\w/]+\.(py|args)", code) and code != "settings.args":
            assert any(path.as_posix().endswith(f"/{code}") for path in FILES), code


def test_a_wrong_command_is_noticed():
    assert parses("train.py", ["--epoch", "3"]) and parses("train.py", ["--accumulate", "2"])
    assert parses("train.py", ["--epochs", "many"]) and parses("train.py", ["--model", "vit"])
    assert parses("train.py", ["--epochs"], whole=True) and not parses("train.py", ["--epochs"])
    assert not parses("train.py", ["--epochs", "N", "--data", "DIR", "@challenges/coco/train.args"], whole=True)
    assert not parses("tools/crossvalidate.py", "--folds 5 --data DIR --out runs/name --model unet".split())
    assert parses("tools/crossvalidate.py", "--folds 5 --data DIR --out runs/name --models unet".split())
    assert parses("tools/show.py", ["network", "--modell", "unet"]) and parses("tools/show.py", ["networks"])
    assert parses("tools/digests.py", ["--quick"]) and parses("benchmarks/halo.py", ["--number", "3"])
    for words in ["python -m tools.ood", "python data.py", "python tarin.py", "python ood.py DIR"]:
        with pytest.raises(AssertionError):
            script, rest = find_script(words.split(), ROOT / "README.md")
            assert parses(script, rest) is None


def test_the_commands_of_the_ci_are_there():
    lines = README.splitlines()
    assert "pip install -r requirements-dev.txt && python -m pytest -n 2" in lines
    assert "pip install -r requirements.txt && python train.py && python predict.py rgb.png" in lines


# ---------------------------------------------------------------------------------------------------
# What is printed, and the page of code


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_the_table_of_the_network_is_what_the_tool_prints(tmp_path):
    process = inside("-m", "tools.show", "network", cwd=tmp_path)
    assert process.returncode == 0 and process.stdout.strip() in README


def test_every_knob_of_the_training_has_its_default_in_its_help(capsys):
    with pytest.raises(SystemExit):
        train_arguments(["--help-all"])
    text = " ".join(capsys.readouterr().out.split()).split("options:")[1]
    for name, default in vars(train_arguments([])).items():
        if name in ("image", "mask", "out") or default is None or isinstance(default, bool):
            continue
        described = text.split(f" --{name.replace('_', '-')} ")[1].split(" --")[0]
        if isinstance(default, list):
            shown = " ".join(map(str, default))
        else:
            shown = default if isinstance(default, str) else f"{default:g}"
        assert f"({shown}" in described, name


def test_the_whole_idea_on_one_page_runs(tmp_path, capsys, monkeypatch):
    [page] = blocks(README, "python")
    assert len(page.splitlines()) <= 40
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # beside other work, two would wait for each other
    try:
        exec(compile(page, "README.md", "exec"), {})
    finally:
        torch.set_num_threads(threads)
    prediction = np.asarray(Image.open(tmp_path / "prediction.png"))
    truth = sample()[1] // 255
    confusion = metrics.confusion_matrix(truth, prediction // 255, 2)
    unseen = metrics.confusion_matrix(truth[:, 256:], prediction[:, 256:] // 255, 2)
    assert np.isin(prediction, (0, 255)).all()
    assert metrics.iou(confusion)[1] > 0.9
    assert metrics.iou(unseen)[1] > 0.9  # of the half that it did not learn from
    assert str(metrics.iou(unseen)[1]) in capsys.readouterr().out


@pytest.mark.parametrize("script", ["train.py", "predict.py", "infer.py", "evaluate.py"])
def test_it_can_be_run_from_any_folder(script, tmp_path):
    assert command(script, "--help", cwd=tmp_path).returncode == 0
