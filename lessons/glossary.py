"""Put the numbers of the lines in lessons/glossary.md right, after a change of the code: python -m lessons.glossary."""
import re

from lessons import ROOT

PAGE = ROOT / "lessons" / "glossary.md"


def with_line_numbers(text):
    """Return the page with the number of the line in each link [`code`](../file.py#L1) that holds this code.

    Raises ValueError unless exactly one line begins with it, blanks aside.
    """
    def renew(link):
        code, file = link.groups()
        lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
        found = [number for number, line in enumerate(lines, start=1) if line.lstrip().startswith(code)]
        if len(found) != 1:
            raise ValueError(f"{file} has {len(found)} lines that begin with {code!r}; expected one")
        return f"[`{code}`](../{file}#L{found[0]})"

    return re.sub(r"\[`([^`]+)`\]\(\.\./([\w/.]+)#L\d+\)", renew, text)


if __name__ == "__main__":
    PAGE.write_text(with_line_numbers(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{PAGE}: the numbers of the lines are right")
