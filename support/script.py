"""How every script here runs: its command line, its settings files, and its mistakes, told in one line.

Nothing but the standard library is imported here, so that --help and a mistyped option answer at once.
"""
import argparse
import errno
import functools
import os
import shlex
import signal
import subprocess
import sys
import threading
from argparse import SUPPRESS, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from support.mistakes import BadInput, printable

PACKAGES = {"matplotlib": "matplotlib", "numpy": "numpy", "PIL": "pillow", "skimage": "scikit-image", "torch": "torch",
            "tqdm": "tqdm"}      # what is imported, and as what pip knows it


class Parser(argparse.ArgumentParser):
    """argparse with mistakes told in one line, the script's docstring as help, and settings files.

    `@FILE` on the command line stands for the arguments in that file: as one would type them, on any
    number of lines, # before a remark.
    """

    def __init__(self, script: str = "", description: str | None = None, prog: str | None = None, **more: Any):
        # `more`: from Python 3.14 on, argparse gives the parsers of subcommands a keyword of its own.
        super().__init__(prog=prog or Path(script).name, description=description,
                         formatter_class=argparse.RawDescriptionHelpFormatter, **more)
        self.left_out: dict[argparse.Action, str | None] = {}    # the help of what --help leaves out
        for name in "stdout", "stderr":          # None where it is closed, as with 2>&-: write to nowhere
            if getattr(sys, name) is None:
                setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {printable(message)}\n")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        drop_unprinted()
        super().exit(status, message)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        words = sys.argv[1:] if args is None else args
        if args is None:         # this process is the command, not a program that uses this as a library
            escape_what_cannot_be_shown()
            sys.excepthook = functools.partial(tell_shortly, self.prog)
            os.environ["MPLBACKEND"] = "agg"     # of matplotlib: draws files; the user's may be one that is gone
            try:
                os.getcwd()
            except OSError:      # PyTorch's libraries would say that they are missing
                self.error("the folder that this was started in is gone; expected one that is there: cd to it")
        found, unknown = super().parse_known_args(list(self.expand(words)), namespace)
        self.refuse_empty_paths(found)
        return found, unknown

    def refuse_empty_paths(self, found: Namespace) -> None:
        """End where a folder or file has an empty name, as of a variable that is not set: it would mean this folder."""
        for action in self._actions:
            shown, value = str(action.metavar or action.dest), vars(found).get(action.dest)
            is_path = shown.endswith(("DIR", "FILE")) or not action.option_strings
            if is_path and "" in (value if isinstance(value, list) else [value]):
                name, kind = "".join(action.option_strings) or shown, "folder" if shown.endswith("DIR") else "file"
                self.error(f'{name} "": expected a {kind}')

    def expand(self, words: Iterable[str], inside_of: tuple[str, ...] = ()) -> Iterator[str]:
        """Yield the words, those of settings files in their place (argparse splits at line ends only).

        After `--`, a word that begins with @ is a name.
        """
        names_only = False
        for word in words:
            names_only = names_only or word == "--"
            if names_only or not word.startswith("@"):
                yield word
                continue
            if word in inside_of:
                self.error(f"{word[1:]} names itself; expected a file of arguments")
            try:
                text = Path(word[1:]).read_text(encoding="utf-8-sig", errors="surrogateescape")       # as names have it
                if "\0" in text:
                    raise ValueError("it is no text")            # and no file's name could hold that
                inside = split_words(text)
            except OSError as error:
                self.error(f"{word[1:]} cannot be read ({error.strerror}); expected a file of arguments")
            except ValueError as error:          # neither text nor, then, whole quotations
                self.error(f"{word[1:]} cannot be read ({error}); expected arguments as one would type them")
            yield from self.expand(inside, (*inside_of, word))

    def show_only(self, names: Iterable[str]) -> None:
        """Leave all options but these out of --help, and add --help-all, which shows every one."""
        self.add_argument("--help-all", action=HelpAll, help="show every knob, not only the usual ones")
        for action in self._actions:
            if action.dest not in (*names, "help") and not isinstance(action, HelpAll):
                self.left_out[action], action.help = action.help, SUPPRESS


class HelpAll(argparse.Action):
    """The option --help-all: print the help with the options that --help leaves out."""

    def __init__(self, option_strings, dest, help):
        super().__init__(option_strings, dest=SUPPRESS, default=SUPPRESS, nargs=0, help=help)

    def __call__(self, parser, namespace, values, option_string=None):
        for action, text in parser.left_out.items():
            action.help = text
        parser.print_help()
        parser.exit()


def number(kind: type, least: float, most: float = 1e30) -> Callable[[str], Any]:
    """Return an argparse type: an int or float from `least` to `most`."""
    def parse(text):
        try:
            value = kind(text)
            if least <= value <= most:
                return value
        except ValueError:       # no number at all, or too many digits
            pass
        what = "whole number" if kind is int else "number"
        upper = most if kind is int else f"{most:g}"
        bounds = f"of at least {least}" if most == 1e30 else f"from {least} to {upper}"
        raise ArgumentTypeError(f"{text[:40]} is not a {what} {bounds}")
    return parse


def tell_shortly(prog: str, kind: type[BaseException], error: BaseException, traceback: Any) -> None:
    """Tell in one line, as sys.excepthook, what goes wrong while a script imports.

    That is Ctrl-C, a package that is missing, or too little memory.
    """
    package = PACKAGES.get((getattr(error, "name", None) or "").split(".")[0])
    if comes_from_ctrl_c(error):
        signal.signal(signal.SIGINT, signal.SIG_IGN)     # see run_script
        print(f"{prog}: interrupted", file=sys.stderr)
    elif issubclass(kind, ModuleNotFoundError) and package:
        print(f"{prog}: {package}, which this needs, is missing here; pip install {package}", file=sys.stderr)
    elif issubclass(kind, MemoryError) or issubclass(kind, ImportError) and "failed to map segment" in str(error):
        print(f"{prog}: the memory is too little to load what this needs; close what else uses it, or raise ulimit -v",
              file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


def comes_from_ctrl_c(error: BaseException | None) -> bool:
    """Return whether an error is Ctrl-C, or what a package makes of it that is just being imported."""
    return error is not None and (isinstance(error, KeyboardInterrupt) or
                                  comes_from_ctrl_c(error.__cause__ or error.__context__))


def escape_what_cannot_be_shown() -> None:
    """Let stdout write out what its console cannot show, of a file's name, say, instead of failing."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


def needs(*packages: str) -> list[Any]:
    """Return the modules of these names. Raises BadInput that says what to install."""
    modules = []
    for package in packages:
        try:
            modules.append(import_module(package))
        except ImportError as error:
            if comes_from_ctrl_c(error):
                raise KeyboardInterrupt from None
            package = package.split(".")[0]
            raise BadInput(f"{package} cannot be used here ({error}); pip install {package}") from None
    return modules


def as_typed(*words: str) -> str:
    """Return words as one types them on a command line of this system."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def as_path(text: str) -> str:
    """Return a path so that it is taken for no option and no settings file: ./-x for -x, ./@x for @x."""
    return f"./{text}" if text.startswith(("-", "@")) else text


class Words(shlex.shlex):
    """The words of a text as a shell has them: # begins a remark only where it begins a word."""

    state: str | None            # shlex's own: a blank between words

    @property
    def commenters(self) -> str:
        return "#" if self.state == " " else ""

    @commenters.setter
    def commenters(self, characters: str) -> None:
        """Pass over what shlex sets, a # anywhere."""


def split_words(text: str) -> list[str]:
    """Return the words of a settings file, without its remarks. Raises ValueError for a quotation without an end.

    On Windows, a backslash stands for itself, as in C:\\data.
    """
    words = Words(text, posix=True)
    words.whitespace_split = True
    if os.name == "nt":
        words.escape = ""
    return list(words)


def drop_unprinted() -> None:
    """Flush stdout; where that is impossible, forget what is still to be printed, or Python complains when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def lock_bars_here() -> None:
    """Give tqdm's bars, where a script draws any, a lock for the threads of this process.

    tqdm's own is one for several processes. Where these are not forked, as on macOS, it takes one more process that
    watches over it, and that complains when a script is ended by a signal.
    """
    if "tqdm" in sys.modules:
        sys.modules["tqdm"].tqdm.set_lock(threading.RLock())


def run_script(function: Callable, args: Namespace, script: str, interrupted: str = "interrupted") -> Any:
    """Call function(args) for a script and return its result; mistakes end the process with one line.

    A user's mistake (BadInput), whatever the system refuses (OSError, a thread) and full memory become `SCRIPT:
    what was wrong` on stderr and exit status 1, Ctrl-C becomes the text `interrupted` and status 130. Where
    nobody reads what is printed any more, as with `| head`, the process ends without a word.
    """
    name = Path(script).name
    lock_bars_here()
    try:
        result = function(args)
        sys.stdout.flush()       # now, while it can still be told what goes wrong
        return result
    except BrokenPipeError:
        sys.exit(1)
    except (BadInput, OSError) as error:
        if os.name == "nt" and isinstance(error, OSError) and error.errno == errno.EINVAL and error.filename is None:
            sys.exit(1)          # what Windows says to a broken pipe
        sys.exit(f"{name}: {error}")
    except (MemoryError, RuntimeError) as error:
        remedy = "close what else uses it, or lower --budget, --batch, --patch or --memory of a training"
        # PyTorch's own, which not all scripts import, or CUDA's, where another program has taken all of it.
        if type(error).__name__ == "OutOfMemoryError" or "CUDA error: out of memory" in str(error):
            sys.exit(f"{name}: the GPU's memory is full; {remedy}, or add --device cpu")
        if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
            sys.exit(f"{name}: the memory is full; {remedy}")
        if "can't start new thread" in str(error):
            sys.exit(f"{name}: the system allows no more threads here; end other programs, or raise ulimit -u")
        raise
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)     # a second Ctrl-C, while this process ends, changes nothing
        print(f"{name}: {interrupted}", file=sys.stderr)
        sys.exit(130)
    finally:
        drop_unprinted()
