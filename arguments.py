"""The command lines: what all scripts share. Nothing but the standard library, so that --help answers at once."""
import argparse
import shlex
import sys
from pathlib import Path

POSITIONAL = ("image", "mask")   # of train.py


class Parser(argparse.ArgumentParser):
    """argparse with mistakes told in one line, the script's docstring as help, and settings files.

    `@FILE` on the command line stands for the arguments in that file: as one would type them, on any number of
    lines, # before a remark.
    """

    def __init__(self, script, description):
        super().__init__(prog=Path(script).name, description=description,
                         formatter_class=argparse.RawDescriptionHelpFormatter)
        if hasattr(sys.stdout, "reconfigure"):          # a file's name may hold what a Windows console cannot show
            sys.stdout.reconfigure(errors="backslashreplace")

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")

    def parse_known_args(self, args=None, namespace=None):
        return super().parse_known_args(list(self.expanded(sys.argv[1:] if args is None else args)), namespace)

    def expanded(self, words):
        """The words with those of the settings files in their place. (argparse's own would split at line ends only.)"""
        for word in words:
            if not word.startswith("@"):
                yield word
                continue
            try:
                inside = shlex.split(Path(word[1:]).read_text(encoding="utf-8-sig"), comments=True)
            except OSError as error:
                self.error(f"{word[1:]} cannot be read ({error.strerror}); expected a file of arguments")
            except ValueError as error:                 # neither text nor, then, whole quotations
                self.error(f"{word[1:]} cannot be read ({error}); expected arguments as one would type them")
            yield from self.expanded(inside)


def number(kind, least, most=1e30):
    """An argparse type: an int or float within bounds."""
    def parse(text):
        if not least <= kind(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not a number from {least} to {most:g}")
        return kind(text)
    parse.__name__ = kind.__name__           # argparse names it where the text is no number at all
    return parse


SCORES = "softmax", "logit", "energy", "entropy", "features"          # of ood.py


def add_prediction_knobs(add):
    """How a network looks at images: what all scripts that predict can do."""
    add("--tta", action="store_true",
        help="average over flips and turns, those that training used (off: up to eight times the work)")
    add("--halo", type=number(int, 0, 127), metavar="PIXELS",
        help="what windows see around what they keep (all the network can; less is faster, not exact)")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto: a GPU if there is one")


def add_adaptation(add):
    """--adapt, of the scripts that predict with PyTorch; it needs a network with BatchNorm."""
    add("--adapt", type=number(float, 0, 1), default=0.0, metavar="SHARE",
        help="move BatchNorm's statistics by this share towards each image's own: for weather, dusk or noise that "
             "training had none of (0: as trained; more means to look at each image once more)")


def as_settings_file(args, remarks, leave_out):
    """The text of a settings file that stands for these arguments: remarks first, then an argument a line.

    `leave_out` names those that belong to one run only. Positional arguments come without their names.
    """
    lines = [f"# {remark}" for remark in remarks]
    for name, value in vars(args).items():
        if name not in leave_out and value is not None and value is not False:
            values = [] if value is True else value if isinstance(value, list) else [value]
            words = [] if name in POSITIONAL else [f"--{name.replace('_', '-')}"]
            lines.append(" ".join(words + [shlex.quote(str(one)) for one in values]))
    return "\n".join(lines) + "\n"
