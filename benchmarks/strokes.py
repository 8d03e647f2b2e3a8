"""Compare the network of tools.paint, as it learns from strokes, with a random forest on the same strokes.

    python -m benchmarks.strokes --out strokes.jsonl
    python -m benchmarks.strokes --pairs DIR --out strokes.jsonl
    python -m benchmarks.strokes --pairs DIR --out strokes.jsonl --next 1
    python -m benchmarks.strokes --waits 512 5120
    python -m benchmarks.strokes --monkey 90 --folder DIR

Strokes are random walks inside the true regions of an image: the bundled sample or, with --pairs, the first of
NNN_rgb.png and NNN_gt.png in DIR. All are painted at once; then the clock starts. The network is the learner of
tools.paint, which learns and predicts by turns, as in the program. Figures are the mean IoU of all classes, on what is
not painted of this image and on the next images (of the sample, there are none). The forest (Breiman, 2001) has
scikit-image's multi-scale features and learns from all strokes; the learner puts one in five of a class aside.

Each result is a line of the file; what stands there is not measured again. --next 1 measures one and ends. --waits
tells how long a person waits, for images of the sample so many pixels wide. --monkey paints at random for so many
minutes over HTTP and prints memory and time of each answer; with --folder, called again, it goes on with its picture.
"""

from support.script import Parser, run_script

if __name__ == "__main__":  # before the imports that take seconds
    parser = Parser(__file__, __doc__)
    parser.add_argument("--pairs", metavar="DIR", help="a folder of NNN_rgb.png and NNN_gt.png (the bundled sample)")
    parser.add_argument("--out", default="strokes.jsonl", metavar="FILE", help="the results (strokes.jsonl)")
    parser.add_argument("--strokes", type=int, nargs="+", default=[4, 12], metavar="N", help="of a class (4 12)")
    parser.add_argument("--seeds", type=int, default=3, help="how many (3)")
    parser.add_argument("--models", nargs="+", default=["fcn", "forest"], help="fcn, unet, forest (fcn forest)")
    parser.add_argument("--core", action="store_true", help="count CPU seconds of one core, on a busy machine")
    parser.add_argument("--next", type=int, metavar="N", help="measure so many more, then end (all)")
    parser.add_argument("--waits", type=int, nargs="+", metavar="PIXELS", help="measure what a person waits for")
    parser.add_argument("--monkey", type=float, metavar="MINUTES", help="paint at random for so long, nothing else")
    parser.add_argument("--folder", metavar="DIR", help="where that is kept, to go on later (a temporary folder)")
    ARGS = parser.parse_args()

import contextlib
import json
import math
import queue
import random
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

import metrics
from benchmarks.machine import machine
from benchmarks.one_image import classes_of, pairs_in
from support.files import BadInput, write_image
from support.images import Rendering
from support.masks import IGNORE, read_pair
from support.sample import sample
from tools.paint.pictures import covered
from tools.paint.process import setup_of
from tools.paint.session import Session

MOMENTS = 1, 3, 10, 30           # seconds after the strokes
WIDTH, LENGTH = 7, 30            # of a stroke: pixels, and steps of two pixels
MOST_NEXT = 3                    # images to test on


def walk(room, chance):
    """Return one stroke in a region, (points (N, 2), width), which keeps its distance from the region's border.

    `room` (H, W) is the distance of each pixel of the region to that. Where the region is thin, so is the brush.
    """
    y, x = chance.choice(np.argwhere(room >= min(WIDTH / 2, np.percentile(room[room > 0], 75)))) + 0.5
    width = float(np.clip(2 * room[int(y), int(x)] - 1, 1, WIDTH))
    points, heading = [[x, y]], chance.uniform(0, 2 * math.pi)
    for _ in range(LENGTH):
        for _ in range(8):       # turn a little; away, where there is no room
            turned = heading + chance.normal(0, 0.4)
            ahead = x + 2 * math.cos(turned), y + 2 * math.sin(turned)
            if all(0 <= part < side for part, side in zip(ahead, room.shape[::-1])):
                if room[int(ahead[1]), int(ahead[0])] >= width / 2:
                    break
            heading = chance.uniform(0, 2 * math.pi)
        else:
            break
        (x, y), heading = ahead, turned
        points.append([x, y])
    return np.array(points), width


def room_in(region):
    """Return the distance of each pixel of a region (H, W) to its border, the image's included."""
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]


def strokes_inside(truth, count, seed):
    """Return `count` strokes in the region of each class of a mask (H, W), in turns: [(class, points, width), …]."""
    chance = np.random.default_rng(seed)
    rooms = {label: room_in(truth == label) for label in np.unique(truth[truth != IGNORE]).tolist()}
    return [(label, *walk(room, chance)) for _ in range(count) for label, room in rooms.items()]


def painted(truth, strokes):
    """Return what strokes paint, class indices (H, W)."""
    found = np.full(truth.shape, IGNORE, np.uint8)
    for label, points, width in strokes:
        top, left, area = covered(points, width, *truth.shape)
        found[top:top + area.shape[0], left:left + area.shape[1]][area] = label
    return found


def score(predictions, truths, classes):
    """Return the mean over images of the mean IoU of all classes."""
    ious = [metrics.iou(metrics.confusion_matrix(truth, found, classes)) for found, truth in zip(predictions, truths)]
    return statistics.mean(metrics.mean(each) for each in ious) if ious else None


@contextlib.contextmanager
def learning(image, classes, network=None):
    """Yield (session, learner) of tools.paint for an image (H, W, 3), all of it in view; `network` is a checkpoint."""
    from tools.paint.learner import Learner

    with tempfile.TemporaryDirectory() as folder:
        path, inbox = Path(folder) / "images" / "a.png", queue.Queue()
        path.parent.mkdir()
        write_image(path, image)
        session = Session(Path(folder), {"a": path}, Rendering(), classes, 255)
        session.tell = inbox.put
        session.post("view", {"image": 0, "box": [0, 0, image.shape[1], image.shape[0]]})
        learner = Learner(setup_of(session, network), inbox, lambda *message: session.hear(message))
        learner.announce()
        yield session, learner
        session.end()


def post_strokes(session, strokes):
    """Paint strokes on the image of a session."""
    for label, points, width in strokes:
        session.post("stroke", {"image": 0, "tool": "brush", "class": label, "width": width,
                                "points": points.tolist()})


def network(model, pairs, classes, strokes, unpainted, now):
    """Let the learner of tools.paint learn; return [{"seconds", "steps", "iou", "next"} at each of the MOMENTS].

    `now` is the clock.
    """
    from segmenter import Segmenter

    names, found = [{"name": str(number), "value": number, "colour": [0, 0, number]} for number in range(classes)], []
    with learning(pairs[0][0], names) as (session, learner):
        post_strokes(session, strokes)
        session.post("learn", {"model": model})
        learner.take_news(wait=False)
        clock = 0.0
        for moment in MOMENTS:
            while clock < moment:
                began = now()
                busy = learner.turn()
                clock += now() - began
                if not busy:
                    break
            prediction = np.array(session.pictures[0].map("prediction"))
            row = {"seconds": moment, "steps": learner.current.version,
                   "iou": score([np.where(prediction == IGNORE, 0, prediction)], [unpainted], classes)}
            segment = Segmenter(learner.current.run.ema_model, learner.current.run.metadata)
            row["next"] = score([segment(image) for image, _ in pairs[1:]], [mask for _, mask in pairs[1:]], classes)
            found.append(row)
    return found


def forest(pairs, classes, strokes, unpainted, seed, now):
    """Let a random forest learn; return [{"seconds", "iou", "next"}], where the seconds hold the first prediction."""
    from sklearn.ensemble import RandomForestClassifier

    from tools.paint.learner import features

    began = now()
    mask, found = painted(pairs[0][1], strokes), features(pairs[0][0])
    trees = RandomForestClassifier(n_estimators=100, min_samples_leaf=5, n_jobs=-1, random_state=seed)
    trees.fit(found[mask != IGNORE], mask[mask != IGNORE])
    classify = lambda found: trees.predict(found.reshape(-1, found.shape[-1])).reshape(found.shape[:2])
    prediction = classify(found)
    return [{"seconds": now() - began, "iou": score([prediction], [unpainted], classes),
             "next": score([classify(features(image)) for image, _ in pairs[1:]], [mask for _, mask in pairs[1:]],
                           classes)}]


def pairs_of(folder):
    """Return ([(image, mask), …], how many classes): the sample, or the first few pairs of a folder."""
    if folder is None:
        image, mask = sample()
        return [(image, (mask > 0).astype(np.uint8))], 2
    files = pairs_in(folder)[:1 + MOST_NEXT]
    if not files:
        raise BadInput(f"{folder} holds no NNN_rgb.png; expected some, each with its NNN_gt.png")
    classes = classes_of(files[0][1])
    return [read_pair(*pair, classes) for pair in files], len(classes)


def measure(args):
    """Measure what the file does not hold yet, and print all that it holds."""
    now = time.perf_counter
    if args.core:
        import torch

        torch.set_num_threads(1)
        now = time.process_time
    path, name = Path(args.out), Path(args.pairs).name if args.pairs else "sample"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    there = {(row["pictures"], row["model"], row["strokes"], row["seed"]) for row in rows}
    pairs, classes = pairs_of(args.pairs)
    wanted = [(name, model, count, seed) for count in args.strokes for seed in range(args.seeds)
              for model in args.models]
    for _, model, count, seed in [case for case in wanted if case not in there][:args.next]:
        strokes = strokes_inside(pairs[0][1], count, seed)
        unpainted = np.where(painted(pairs[0][1], strokes) == IGNORE, pairs[0][1], IGNORE)
        found = (forest(pairs, classes, strokes, unpainted, seed, now) if model == "forest" else
                 network(model, pairs, classes, strokes, unpainted, now))
        rows.append({"pictures": name, "model": model, "strokes": count, "seed": seed, "found": found})
        with path.open("a") as file:
            file.write(json.dumps({**rows[-1], "machine": machine()}) + "\n")
    show(rows)


def show(rows):
    """Print the mean over seeds of all results, and the spread."""
    print(f"{'pictures':<14}{'strokes':>8} {'model':<8}{'seconds':>8}{'steps':>7}{'IoU, this image':>20}"
          f"{'next images':>18}")
    for key in sorted({(row["pictures"], row["strokes"], row["model"]) for row in rows}):
        same = [row["found"] for row in rows if (row["pictures"], row["strokes"], row["model"]) == key]
        for moment in zip(*same):
            figures = [[each[kind] for each in moment if each[kind] is not None] for kind in ("iou", "next")]
            texts = [f"{np.mean(each):.4f} ± {metrics.format_metric(metrics.spread(each))}" if each else ""
                     for each in figures]
            seconds, steps = (np.mean([each.get(kind, 0) for each in moment]) for kind in ("seconds", "steps"))
            print(f"{key[0]:<14}{key[1]:>8} {key[2]:<8}{seconds:>8.1f}{steps:>7.0f}{texts[0]:>20}{texts[1]:>18}")


# ---------------------------------------------------------------------------------------------------
# What a person waits for


def waits(side, folder):
    """Print the seconds until the page is there, until each answer, and until the first and the whole prediction."""
    from benchmarks.paint_page import Paint

    seconds = lambda began: f"{time.perf_counter() - began:.2f}"
    image, mask = sample()
    times = -(-side // len(image))
    write_image(Path(folder) / "large.png", np.tile(image, (times, times, 1))[:side, :side])
    began = time.perf_counter()
    paint = Paint(Path(folder) / "painted", Path(folder) / "large.png")
    try:
        print(f"{side}x{side} pixels: the address after {seconds(began)} s", end="")
        began = time.perf_counter()
        paint.get("tile/0/image/0/0/0.png")
        print(f", the first tile {seconds(began)}", end="")
        began = time.perf_counter()
        paint.get("tile/0/image/2/0/0.png")
        print(f", a reduced one {seconds(began)}", end="")
        paint.post("view", image=0, box=[0, 0, min(side, 1000), min(side, 800)])
        time.sleep(8)            # a person looks at it; PyTorch is imported meanwhile
        for label, points, width in strokes_inside((mask > 0).astype(np.uint8), 1, 0):
            began = time.perf_counter()
            paint.post("stroke", image=0, tool="brush", width=width, points=points.tolist(), **{"class": label})
            print(f", a stroke {seconds(began)}", end="")
        while not paint.state()["images"][0]["prediction"]:
            time.sleep(0.02)
        print(f"; from then on, the first prediction after {seconds(began)}", end="", flush=True)
        while not paint.state()["images"][0]["whole"] and time.perf_counter() - began < 40:
            time.sleep(0.1)
        server, learner = memory_of(paint.process.pid)
        print(f", all of the image {seconds(began)}; server {server:.0f} MB, learner {learner:.0f} MB", flush=True)
    finally:
        paint.kill()


# ---------------------------------------------------------------------------------------------------
# The monkey


def memory_of(pid):
    """Return (MB in memory of a process, the same of its children); zeros where the system does not tell."""
    def read(path):
        try:
            return Path(path).read_text()
        except OSError:
            return ""

    def resident(number):
        lines = read(f"/proc/{number}/status").splitlines()
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")), 0)

    # A child that was started again is that of the thread that did it.
    children = [child for path in Path(f"/proc/{pid}/task").glob("*/children") for child in read(path).split()]
    return resident(pid), sum(map(resident, children))


def monkey_step(paint, chance, size):
    """Do something at random, as a person might; return whether it was a stroke."""
    width, height = size
    point = lambda: [chance.uniform(-0.1, 1.1) * width, chance.uniform(-0.1, 1.1) * height]
    kind = chance.choice(["brush"] * 8 + ["erase", "erase", "fill", "undo", "undo", "redo", "view", "tile", "pixel",
                                             "model"])
    if kind in ("brush", "erase", "fill"):
        x, y = point()
        points = [[x + chance.gauss(0, 30), y + chance.gauss(0, 30)] for _ in range(chance.randint(1, 40))]
        paint.post("stroke", image=0, tool=kind, **{"class": chance.randrange(2)}, width=chance.uniform(1, 40),
                   points=[[0.5, 0.5]] if kind == "fill" else points)
    elif kind in ("undo", "redo"):
        paint.post(kind)
    elif kind == "view":
        paint.post("view", image=0, box=[*point(), *point()])
    elif kind == "tile":
        paint.get("tile/0/strokes/0/0/0.png")
    elif kind == "pixel":
        paint.get(f"pixel/0/{chance.randrange(width)}/{chance.randrange(height)}")
    elif chance.random() < 0.1:
        paint.post("learn", learning=True, model=chance.choice(["fcn", "unet"]))


def monkey(minutes, folder, every=10.0, tell=print):
    """Paint at random for so many minutes; return [(seconds, actions, MB of server, MB of learner, slowest), …].

    It goes on with what an earlier call has painted in the folder. In the end it kills the program and starts it
    again. Raises AssertionError where a stroke is lost or the program has written a traceback.
    """
    from benchmarks.paint_page import Paint

    Path(folder).mkdir(parents=True, exist_ok=True)
    kept, rows = Path(folder, "strokes.png"), []                      # the strokes as they were in the end
    paint = Paint(Path(folder, "painted").absolute())
    picture = lambda: paint.get("tile/0/strokes/0/0/0.png")
    try:
        assert not kept.exists() or picture() == kept.read_bytes(), "strokes of an earlier call are lost"
        kept.unlink(missing_ok=True)             # until this call has come to its end
        chance = random.Random(str(paint.state()["painted"]))         # it paints otherwise each time
        began = told = time.monotonic()
        size, actions, slowest = sample()[1].shape[::-1], 0, 0.0
        while time.monotonic() - began < 60 * minutes:
            before = time.monotonic()
            monkey_step(paint, chance, size)
            actions, slowest = actions + 1, max(slowest, time.monotonic() - before)
            time.sleep(chance.uniform(0, 0.2))
            if time.monotonic() - told > every:
                told = time.monotonic()
                rows.append((told - began, actions, *memory_of(paint.process.pid), slowest))
                tell(f"{rows[-1][0]:6.0f} s {actions:6d} actions, server {rows[-1][2]:.0f} MB, learner "
                     f"{rows[-1][3]:.0f} MB, slowest answer {slowest:.2f} s", flush=True)
                slowest = 0.0
        kept.write_bytes(picture())
        assert "Traceback" not in paint.complaints(), paint.complaints()
        paint.kill()
        paint.start()
        assert picture() == kept.read_bytes(), "strokes are lost"
        return rows
    finally:
        paint.kill()


def main(args):
    print(machine())
    for side in args.waits or []:
        with tempfile.TemporaryDirectory() as folder:
            waits(side, folder)
    if args.monkey:
        with tempfile.TemporaryDirectory() as folder:
            monkey(args.monkey, args.folder or folder)
    if not (args.waits or args.monkey):
        measure(args)


if __name__ == "__main__":
    run_script(main, ARGS, __file__)
