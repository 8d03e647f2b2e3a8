"""Measure the memory and the time that preparing a data set of COCO's full size takes.

    python -m benchmarks.coco
    python -m benchmarks.coco --images 5000          smaller

Writes an annotation file with as many images and outlines as instances_train2017.json (118,287 and
860,001, as many corners each), and one photograph under all those names, most of them links. Then
runs challenges.coco.prepare on it in a process of its own, and prints that process's peak memory as
the operating system reports it. Needs about 2 GB of disk.
"""
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from support.script import Parser, run_script

OUTLINES, CORNERS = 860_001 / 118_287, 26        # per image; per outline, on average
LINKS = 10_000                   # to one file: file systems limit their number
PREPARE = """
from challenges.coco import prepare
from tools.speed import peak_memory
prepare.prepare(prepare.parse_arguments())
print(f"{(peak_memory() or 0) / 1e9:.2f} GB of memory at most")
"""


def parse_arguments():
    parser = Parser(__file__, __doc__)
    parser.add_argument("--images", type=int, default=118_287, help="in the annotation file (118287)")
    parser.add_argument("--per-class", type=int, default=2000, help="to take for each of three classes (2000)")
    return parser.parse_args()


def write_file(folder, images):
    """Write instances.json and photographs/ to a folder, and return the number of outlines."""
    import numpy as np
    from skimage import data

    from support.files import write_image

    random, size = np.random.default_rng(0), (480, 640)
    (folder / "photographs").mkdir()
    photograph = np.pad(data.coffee(), ((0, 80), (0, 40), (0, 0)), mode="edge")
    table = {"categories": [{"id": number, "name": name} for number, name in enumerate(
        ["person", "bicycle", "car", *(f"other {number}" for number in range(77))], start=1)], "images": [],
        "annotations": []}
    shares = np.array([0.3, 0.01, 0.05, *[0.64 / 77] * 77])
    for number in range(1, images + 1):
        name = f"{number:012d}.jpg"
        table["images"].append({"id": number, "file_name": name, "height": size[0], "width": size[1], "license": 3,
                                "coco_url": f"http://images.cocodataset.org/train2017/{name}",
                                "date_captured": "2013-11-18 06:56:10",
                                "flickr_url": "http://farm8.staticflickr.com/7216/7200825264_af0f941e1a_z.jpg"})
        if number % LINKS == 1:
            first = folder / "photographs" / name
            write_image(first, photograph)
        else:
            os.link(first, folder / "photographs" / name)
        for category in random.choice(80, random.poisson(OUTLINES), p=shares).tolist():
            angle = np.sort(random.uniform(0, 2 * np.pi, CORNERS))
            radius = random.uniform(10, 120) * random.uniform(0.7, 1, CORNERS)
            x, y = random.uniform(0, 640) + radius * np.cos(angle), random.uniform(0, 480) + radius * np.sin(angle)
            corners = np.stack([x.clip(0, 640), y.clip(0, 480)], axis=1).round(2)
            table["annotations"].append({
                "segmentation": [corners.ravel().tolist()], "area": 702.1, "iscrowd": 0, "image_id": number,
                "bbox": [*corners.min(axis=0).tolist(), *np.ptp(corners, axis=0).tolist()],
                "category_id": category + 1, "id": len(table["annotations"]) + 1})
    (folder / "instances.json").write_text(json.dumps(table))
    return len(table["annotations"])


def main(args):
    from benchmarks.machine import machine

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        outlines = write_file(folder, args.images)
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", PREPARE, "--annotations", folder / "instances.json", "--images",
                               folder / "photographs", "--out", folder / "data", "--per-class", str(args.per_class)],
                              check=True, stdout=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - began
        made = sum(1 for _ in (folder / "data" / "masks").iterdir())
        size = (folder / "instances.json").stat().st_size
        print(f"{machine()}\n{args.images} images, {outlines} outlines, annotation file of {size / 1e6:.0f} MB\n"
              f"prepare.py: {made} images and masks in {seconds:.0f} s, {done.stdout.splitlines()[-1]}")


if __name__ == "__main__":
    run_script(main, parse_arguments(), __file__)
