"""Run the lessons from top to bottom, and compare each number with what its text states.

    python -m lessons              all eight
    python -m lessons 3 5          these
    python -m lessons --quick      train for a moment only, and compare what needs no training: all eight in a minute
    python -m lessons --pictures lessons/pictures      draw the pictures of lessons/README.md anew
"""
import runpy
import time
from pathlib import Path

import lessons
from support.files import BadInput
from support.script import Parser, run_script

CHAPTERS = {path.name[0]: path for path in sorted((lessons.ROOT / "lessons").glob("[1-9]_*.py"))}


def parse_arguments(argv=None):
    parser = Parser(__file__, __doc__, prog="lessons")
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help="their numbers (all)")
    parser.add_argument("--quick", action="store_true", help="train for a moment only (off)")
    parser.add_argument("--pictures", default="lessons_out", metavar="DIR", help="where the pictures go (lessons_out)")
    args = parser.parse_args(argv)
    for number in args.chapters:
        if number not in CHAPTERS:
            parser.error(f"there is no chapter {number}; expected {', '.join(CHAPTERS)}")
    return args


def run(args):
    """Run the chapters. Raises BadInput where a number is not as stated."""
    lessons.pictures, lessons.quick, lessons.alone = Path(args.pictures), args.quick, False
    for number in args.chapters or CHAPTERS:
        print(f"\n{CHAPTERS[number].name}")
        began = time.perf_counter()
        runpy.run_path(str(CHAPTERS[number]))
        print(f"{time.perf_counter() - began:.0f} s")
    if lessons.wrong:
        raise BadInput(f"{len(lessons.wrong)} numbers are not as the text states: {'; '.join(lessons.wrong)}")
    print("\nevery number is as the text states" + (", but for those that need training" if args.quick else ""))


if __name__ == "__main__":
    run_script(run, parse_arguments(), "lessons")
