"""The layout: what may import what, how long and how deep a function may be."""

import ast
import graphlib
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT, inside

RUN = {"train", "predict", "infer", "evaluate"}
READ = {"data", "patches", "model", "losses", "metrics", "optimizer", "segmenter"}
LONGEST, DEEPEST = 50, 3  # of a function at the top level: lines, and blocks in each other


def modules():
    """{dotted name: syntax tree} of the top level, support/ and tools/."""
    paths = [path for where in ("*.py", "support/*.py", "tools/**/*.py") for path in sorted(ROOT.glob(where))]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in zip(names, paths)}


MODULES = modules()


def imports(name):
    """The project's modules that a module imports, at its top or in a function."""
    found = set()
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & set(MODULES)


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def depth(node, level=0):
    """How many loops, conditions, with and try blocks of a function lie in each other; elif is no deeper than if."""
    deepest = level
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue  # counted by itself
        block = isinstance(child, (ast.For, ast.While, ast.If, ast.With, ast.Try))
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        deepest = max(deepest, depth(child, level + (block and not is_elif)))
    return deepest


def test_the_top_level_holds_what_one_runs_and_reads_and_nothing_else():
    top = {name for name in MODULES if "." not in name} - {"support", "tools"}
    assert top == RUN | READ


@pytest.mark.parametrize("name", sorted(RUN | READ))
def test_the_top_level_imports_nothing_of_tools(name):
    assert not {other for other in imports(name) if other.startswith("tools")}


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.startswith("support")))
def test_support_imports_nothing_from_above(name):
    assert {other.split(".")[0] for other in imports(name)} <= {"support"}


def test_no_library_module_parses_arguments():
    allowed = {"support.script", "support.arguments", "tools.arguments"}
    for name, tree in MODULES.items():
        parses = any(word in ast.dump(tree) for word in ("add_argument", "parse_args"))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            imports_it = "argparse" in names and [alias.name for alias in node.names] != ["Namespace"]
            assert name in allowed or not (parses or imports_it), name


def test_no_circle_of_imports():
    tuple(graphlib.TopologicalSorter({name: imports(name) - {name} for name in MODULES}).static_order())


def test_functions_at_the_top_level_are_short_and_flat():
    for name in RUN | READ:
        for function in functions(MODULES[name]):
            where = f"{name}.{function.name}"
            assert function.end_lineno - function.lineno < LONGEST, where
            assert depth(function) <= DEEPEST, where


def test_depth_is_counted():
    tree = ast.parse("def f():\n for x in y:\n  if x:\n   pass\n  elif y:\n   with z:\n    pass\n  else:\n   pass")
    assert depth(tree.body[0]) == 3


def test_docstrings_are_sentences():
    """None begins with one of these; a function is described by a verb."""
    for name, tree in MODULES.items():
        for node in [tree, *ast.walk(tree)]:
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node)):
                assert not re.match(r"(Of|What|Whose|Do what)\b", text), (name, text)


def without_annotation(tree):
    """The functions and methods of a module, those inside of functions left out, that lack an annotation."""
    methods = [node for part in tree.body if isinstance(part, ast.ClassDef) for node in part.body]
    for node in tree.body + methods:
        if not isinstance(node, ast.FunctionDef):
            continue
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        given = [argument for argument in every if argument and argument.arg not in ("self", "cls")]
        returns = node.returns or node.name == "__init__"
        if not (returns and all(argument.annotation for argument in given)):
            yield node.name


# Callbacks, whose signature argparse has decided, need none.
BY_ARGPARSE = {name: ["__init__", "__call__"] for name in ("support.script", "support.arguments")}


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name in RUN | READ or name.startswith("support.")))
def test_every_function_says_the_types_of_what_it_takes_and_returns(name):
    assert list(without_annotation(MODULES[name])) == BY_ARGPARSE.get(name, [])


SCRIPTS = [[f"{name}.py"] for name in sorted(RUN)]
TOOLS = "convert", "crossvalidate", "digests", "export", "paint", "report", "show", "speed", "thresholds"
SCRIPTS += [["-m", f"tools.{name}"] for name in TOOLS]
SCRIPTS += [["-m", "challenges.cityscapes.benchmark"], ["-m", "benchmarks.one_image"]]


@pytest.mark.slow
@pytest.mark.parametrize("words", SCRIPTS, ids=lambda words: words[-1])
def test_help_answers_at_once(words):
    seconds = []
    for _ in range(3):
        began = sum(os.times()[2:4])  # of processors, by processes that have ended: other programs do not disturb it
        done = subprocess.run([sys.executable, *words, "--help"], cwd=ROOT, capture_output=True, text=True)
        seconds.append(sum(os.times()[2:4]) - began)
        assert done.returncode == 0 and "usage:" in done.stdout
    assert min(seconds) < 0.3


def test_help_shows_what_a_beginner_touches_and_help_all_the_rest():
    short, full = (inside("train.py", flag, cwd=ROOT).stdout for flag in ("--help", "--help-all"))
    options = lambda text: set(re.findall(r"--[a-z][a-z-]+", text.split("options:")[1]))
    assert options(short) < options(full)
    assert len(options(short)) <= 16 and {"--model", "--epochs", "--help-all"} <= options(short)
    assert {"--jitter", "--ema", "--val-images"} <= options(full) - options(short)
