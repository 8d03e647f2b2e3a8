"""The lessons: chapters run, what they state is so, exercises can be solved and are not solved yet."""

import re
import shutil
import sys

import pytest
from conftest import ROOT

from lessons.exercises import EXERCISES

LESSONS = ROOT / "lessons"
CHAPTERS = sorted(LESSONS.glob("[1-9]_*.py"))


def solutions():
    """{number: [(file, lines to replace, lines instead), …]} of lessons/solutions.md."""
    found = {}
    for part in (LESSONS / "solutions.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        number, found[part.split("\n")[0]] = part.split("\n")[0], []
        for block in re.findall(r"```diff\n(.*?)```", part, re.DOTALL):
            file, *lines = block.splitlines()
            for old, new in re.findall(r"((?:-.*\n)+)((?:\+.*\n)*)", "\n".join(lines) + "\n"):
                found[number].append((file, re.sub("^-", "", old, flags=re.M), re.sub(r"^\+", "", new, flags=re.M)))
    return found


SOLUTIONS = solutions()


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the project's code, to be changed."""
    folder = tmp_path_factory.mktemp("project")
    for path in ROOT.glob("*.py"):
        shutil.copy(path, folder)
    for package in "support", "tools", "lessons", "challenges":
        shutil.copytree(ROOT / package, folder / package, ignore=lambda _, names: [n for n in names if "." in n and not n.endswith(".py")])
    return folder


@pytest.fixture
def imported_anew(copy, monkeypatch):
    """Imports find the copy, and nothing that is imported already."""
    ours = {path.stem for path in ROOT.glob("*.py")} | {"support", "tools", "lessons", "challenges"}
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] in ours}
    for name in before:
        del sys.modules[name]
    monkeypatch.syspath_prepend(copy)
    yield copy
    for name in [name for name in sys.modules if name.split(".")[0] in ours]:
        del sys.modules[name]
    sys.modules.update(before)


def test_every_exercise_has_a_solution_and_two_belong_to_each_chapter():
    wanted = [f"{chapter.name[0]}.{number}" for chapter in CHAPTERS for number in (1, 2)]
    assert list(EXERCISES) == list(SOLUTIONS) == wanted
    for chapter in CHAPTERS:
        called = re.findall(r'check\("([\d.]+)"\)', chapter.read_text(encoding="utf-8"))
        assert called == [f"{chapter.name[0]}.1", f"{chapter.name[0]}.2"]


@pytest.mark.parametrize("number", EXERCISES)
def test_an_exercise_is_unsolved_here_and_right_with_its_solution(number, imported_anew):
    with pytest.raises(AssertionError):
        EXERCISES[number]()
    for name in [name for name in sys.modules if getattr(sys.modules[name], "__file__", None) and
                 str(imported_anew) in sys.modules[name].__file__]:
        del sys.modules[name]
    kept = {}
    try:
        for file, old, new in SOLUTIONS[number]:
            path = imported_anew / file
            text = path.read_text(encoding="utf-8")
            kept.setdefault(path, text)
            assert text.count(old) == 1, f"{file} no longer has what the solution changes: {old}"
            path.write_text(text.replace(old, new), encoding="utf-8")
        from lessons.exercises import EXERCISES as of_the_copy

        assert sys.modules["lessons"].__file__.startswith(str(imported_anew))
        of_the_copy[number]()
    finally:
        for path, text in kept.items():
            path.write_text(text, encoding="utf-8")
