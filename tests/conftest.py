"""What several test files share: the commands as a user runs them, in a directory of their own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent


def command(*words, cwd, **options):
    """Run `python SCRIPT …` in cwd; returns the finished process with its output as text."""
    script, *rest = map(str, words)
    return subprocess.run(
        [sys.executable, ROOT / script, *rest], cwd=cwd, capture_output=True, text=True, timeout=300, **options
    )


def fails_in_one_line(process, *words):
    """The promise about errors: a non-zero exit and one line on stderr, without a traceback, that holds the words."""
    lines = process.stderr.strip().splitlines()
    assert process.returncode != 0 and len(lines) == 1 and "Traceback" not in process.stderr, process.stderr
    for word in words:
        assert word in lines[0], lines[0]


@pytest.fixture
def pair(tmp_path):
    """A small image of soft discs on a noisy ground, and its mask: (folder, image file, mask file)."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:120, :300]
    mask = np.zeros((120, 300), bool)
    for _ in range(30):
        mask |= (y - random.integers(120)) ** 2 + (x - random.integers(300)) ** 2 < random.integers(4, 12) ** 2
    image = np.where(mask[:, :, None], (70, 140, 60), (120, 100, 90)) + random.normal(0, 12, (120, 300, 3))
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(tmp_path / "a_mask.png")
    return tmp_path, tmp_path / "a.png", tmp_path / "a_mask.png"
