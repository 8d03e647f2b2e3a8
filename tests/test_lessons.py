"""The lessons: chapters run, what they state is so, exercises can be solved and are not solved yet."""

import re
import shutil
import sys

import pytest
from conftest import ROOT
from forked import Forked
from PIL import Image

import lessons
import lessons.__main__ as lessons_main
from lessons import cheat_sheet, glossary
from lessons.exercises import EXERCISES
from support.files import BadInput

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
    others = lambda _, names: [name for name in names if "." in name and not name.endswith(".py")]
    for package in "support", "tools", "lessons", "challenges":
        shutil.copytree(ROOT / package, folder / package, ignore=others)
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


def test_all_chapters_run_and_what_needs_no_training_is_as_stated(tmp_path):
    process = Forked("-m", "lessons", "--quick", "--pictures", tmp_path / "pictures", cwd=tmp_path)
    told, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "every number is as the text states" in told
    for chapter in CHAPTERS:
        with Image.open(tmp_path / "pictures" / f"{chapter.name[0]}.jpg") as picture:
            assert picture.size[0] == 800  # letters of 14 points are then legible on a phone
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures"]


@pytest.mark.slow
def test_over_fitting_is_as_stated(monkeypatch, capsys):
    """It depends on which strip is held out, on the loss and on the steps. All chapters would take five minutes."""
    monkeypatch.setattr(lessons, "wrong", [])
    monkeypatch.setattr(sys, "path", list(sys.path))
    chapter = (LESSONS / "4_learning_from_one_image.py").read_text(encoding="utf-8")
    exec(chapter.partition("figure, axes = canvas")[0], {})  # to its picture
    assert "loss on the strip: " in capsys.readouterr().out and lessons.wrong == []


def test_a_number_that_is_not_as_stated_is_told(monkeypatch, capsys):
    monkeypatch.setattr(lessons, "wrong", [])
    monkeypatch.setattr(lessons, "quick", False)
    lessons.fact("right", 0.5, stated=0.5)
    lessons.measured("within", 0.52, stated=0.5, within=0.03)
    assert lessons.wrong == [] and "states" not in capsys.readouterr().out
    lessons.fact("a bit off", 0.501, stated=0.5)
    lessons.measured("far off", 0.54, stated=0.5, within=0.03)
    lessons.fact("no number", float("nan"), stated=0.5, within=1)
    assert [text.split(":")[0] for text in lessons.wrong] == ["a bit off", "far off", "no number"]
    assert "0.54 — the text states 0.5 ± 0.03" in capsys.readouterr().out
    monkeypatch.setattr(lessons, "quick", True)
    lessons.measured("of a network that hardly learned", 0.1, stated=0.5, within=0.03)
    assert len(lessons.wrong) == 3


def test_a_run_fails_where_a_number_is_not_as_stated(tmp_path, monkeypatch):
    monkeypatch.setattr(lessons, "wrong", [])
    for name in "pictures", "quick", "alone":  # which a run sets
        monkeypatch.setattr(lessons, name, getattr(lessons, name))
    chapter = tmp_path / "1_wrong.py"
    chapter.write_text("from lessons import fact\nfact('the answer', 41, stated=42)")
    monkeypatch.setattr(lessons_main, "CHAPTERS", {"1": chapter})
    with pytest.raises(BadInput, match="1 numbers are not as the text states: the answer: 41, stated 42"):
        lessons_main.run(lessons_main.parse_arguments([]))


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.name[0])
def test_a_chapter_has_its_parts_and_every_bold_number_is_compared(chapter):
    text = chapter.read_text(encoding="utf-8")
    cells = re.split(r"^# %%", text, flags=re.M)
    words = "".join(cell for cell in cells if cell.startswith(" [markdown]"))
    code = "".join(cell for cell in cells if not cell.startswith(" [markdown]"))
    for part in "Question.", "Predict first.", "Experiment.", "What to see.", "Answer.":
        assert words.count(f"**{part}**") == 1, part
    assert len(re.findall(r"^show\(", code, re.M)) == 1
    numbers = {float(number) for number in re.findall(r"(?<![\w.])-?\d[\d_]*\.?\d*", code)}
    for bold in re.findall(r"\*\*(\d[\d.]*)(?: %| times)?\*\*", words):
        digits = len(bold.partition(".")[2])
        stated = {round(value * scale, digits) for value in numbers for scale in (1, 100)}
        assert float(bold) in stated, bold


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
    for name in [
        name
        for name in sys.modules
        if getattr(sys.modules[name], "__file__", None) and str(imported_anew) in sys.modules[name].__file__
    ]:
        del sys.modules[name]
    with_changes(imported_anew, SOLUTIONS[number], number)


def with_changes(copy, changes, number):
    """Run the check of an exercise in the copy with these changes, and take them back."""
    kept = {}
    try:
        for file, old, new in changes:
            path = copy / file
            text = path.read_text(encoding="utf-8")
            kept.setdefault(path, text)
            assert text.count(old) == 1, f"{file} no longer has what the solution changes: {old}"
            path.write_text(text.replace(old, new), encoding="utf-8")
        from lessons.exercises import EXERCISES as of_the_copy

        assert sys.modules["lessons"].__file__.startswith(str(copy))
        of_the_copy[number]()
    finally:
        for path, text in kept.items():
            path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("number", ["1.1", "1.2"])
def test_the_gaps_may_be_in_the_first_two_convolutions(number, imported_anew):
    """1.2 is to be solved after 1.1, which has more solutions than one."""
    wider = [
        ("model.py", f"({channels}, kernel_size=3, padding=1)", f"({channels}, kernel_size=3, padding=2, dilation=2)")
        for channels in ("3, 16", "16, 32")
    ]
    halo = ("model.py", "    halo = 8 ", "    halo = 10 ")
    with_changes(imported_anew, [*wider, halo, *SOLUTIONS["1.2"]], number)


def test_a_chapter_asks_another_process_whether_an_exercise_is_solved(monkeypatch, capsys):
    lessons.check("5.2")
    assert capsys.readouterr().out.strip() == "exercise 5.2, not yet: metrics.py has no balanced_accuracy"
    monkeypatch.setattr(lessons, "alone", False)
    lessons.check("5.2")
    assert capsys.readouterr().out == ""


def test_each_word_of_the_glossary_is_linked_to_its_line():
    page = glossary.PAGE.read_text(encoding="utf-8")
    assert glossary.with_line_numbers(page) == page, "python -m lessons.glossary puts the numbers of the lines right"
    words = re.findall(r"^- \*\*(.+?)\*\*", page, re.M)
    assert len(words) == 44 == len(re.findall(r"#L\d+\)", page)) and words == sorted(words, key=str.lower)


def test_a_line_that_is_gone_or_there_twice_is_told():
    for code in "def no_such_function(", "import":
        with pytest.raises(ValueError, match=re.escape(repr(code))):
            glossary.with_line_numbers(f"[`{code}`](../train.py#L1)")


def test_the_cheat_sheet_is_what_its_script_draws():
    assert cheat_sheet.PAGE.read_text(encoding="utf-8") == cheat_sheet.page()


def test_pictures_are_small_and_shown():
    page = (LESSONS / "README.md").read_text(encoding="utf-8")
    for chapter in CHAPTERS:
        picture = f"pictures/{chapter.name[0]}.jpg"
        assert picture in page and chapter.name in page
        assert (LESSONS / picture).stat().st_size < 150_000
