"""Keep what is painted, and what the network says about it, in memory and, for good, on the disk.

Each stroke is a line of OUT/strokes.jsonl, flushed to the disk before the page hears that it is there. Everything
else follows from these lines: a session that is killed at any moment is rebuilt from them. Needs no PyTorch.
"""
import json
import math
import os
import secrets
import shutil
import threading
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageFilter

from patches import MAX_SIDE, tiles, zoomed_size
from support.classes import check_classes
from support.files import MARK, BadInput, keeps_changes, write_image, write_json
from support.images import SMALLEST, Rendering, rendering_entries
from support.masks import IGNORE, PALETTE, read_mask, to_values
from support.metadata import is_number
from support.script import as_typed
from tools.paint.pictures import (
    CORRECTION,
    LEARNT,
    PUT_ASIDE,
    Picture,
    Pyramids,
    any_painted,
    as_file,
    covered,
    region_around,
    scaled,
    sees,
    tile_of,
)

STEPS_BACK = 200                 # strokes that can be undone
REMEMBERED = 1000                # requests that are answered, not done again, when they come twice
ASIDE = 5                        # of each class, one stroke in so many is not learned from, but compared with
MOST_WINDOWS = 2000
COLOURS = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2", *PALETTE[9:]]


# ---------------------------------------------------------------------------------------------------
# What comes from the page is checked


def check(condition: Any, expected: str) -> None:
    """Raise BadInput unless a condition holds; the text says what was expected."""
    if not condition:
        raise BadInput(f"expected {expected}")


def check_stroke(body: dict, classes: int) -> dict:
    """Return what a request to paint asks for: tool, class, width and points. Raises BadInput."""
    tool, points = body.get("tool"), body.get("points")
    check(tool in ("brush", "erase", "fill"), "the tool brush, erase or fill")
    check(tool == "erase" or type(body.get("class")) is int and 0 <= body["class"] < classes, "a class that is there")
    check(tool == "fill" or is_number(body.get("width"), 0.1, 4096), "a width from 0.1 to 4096")
    check(isinstance(points, list) and 1 <= len(points) <= 20_000, "1 to 20,000 points")
    for point in points:
        check(isinstance(point, list) and len(point) == 2 and all(is_number(part, -1e5, 2e5) for part in point),
              "points of two numbers from -100000 to 200000")
    points = [[round(part, 2) for part in point] for point in points]
    return {"tool": tool, "class": None if tool == "erase" else body["class"],
            "width": None if tool == "fill" else body["width"], "points": points[:1] if tool == "fill" else points}


def check_box(box: Any) -> list[int]:
    """Return a box [left, top, right, bottom] in whole pixels. Raises BadInput."""
    check(isinstance(box, list) and len(box) == 4 and all(is_number(part, -1e6, 1e6) for part in box),
          "a box of four numbers")
    return [math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])]


# ---------------------------------------------------------------------------------------------------
# The journal: a line of JSON for whatever was done


def read_journal(path: Path) -> list[dict]:
    """Return what a journal holds; a last line that was being written when the process was killed is cut off.

    Raises BadInput where it is damaged.
    """
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    events = []
    for number, line in enumerate(content[:whole].splitlines(), start=1):
        try:
            event = json.loads(line)
            if not isinstance(event, dict) or number == 1 and (event["written by"] != MARK or "classes" not in event):
                raise ValueError("it is not as this program writes it")
        except (ValueError, KeyError, RecursionError) as error:
            raise BadInput(f"{path}, line {number} is damaged ({error}); expected the journal of a painting") from None
        events.append(event)
    if whole < len(content):
        with path.open("rb+") as file:
            file.truncate(whole)
    return events


def place_of(number: Any, strokes: list[dict]) -> int:
    """Return where the stroke of this number stands, the last place if there is none: older journals say True."""
    return next((place for place, event in enumerate(strokes) if event["number"] == number and number is not True), -1)


class Journal:
    """A file to which lines are added, each on the disk before it counts, and whole or not at all."""

    def __init__(self, path: Path):
        self.path, self.file = path, path.open("ab", buffering=0)

    def add(self, event: dict) -> None:
        """Add a line. Raises BadInput where the system refuses, as on a full disk."""
        before = self.file.tell()
        line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
        try:
            if self.file.write(line) != len(line):
                raise OSError("no space left on the disk")
            os.fsync(self.file.fileno())
        except OSError as error:
            self.file.truncate(before)
            raise BadInput(f"{self.path} cannot be written ({error.strerror or error}); make room for it, and paint "
                           "this once more") from error


# ---------------------------------------------------------------------------------------------------
# The session


class Session:
    """All that is painted, and what is known of the network that learns from it.

    Its methods are called by the threads of the server, and by the one that listens to the learner. Whatever
    changes what the page shows raises `revision`, for which the page waits. `begun` says that a journal, where
    there is one, may have been begun with any classes. Raises BadInput.
    """

    def __init__(self, out: Path, paths: dict[str, Path], rendering: Rendering, classes: list[dict], ignore: Any,
                 begun: bool = True):
        self.out, self.rendering = out, rendering
        self.maps = out / ".maps"
        shutil.rmtree(self.maps, ignore_errors=True)                  # those of a session that was killed
        self.maps.mkdir(exist_ok=True)               # Windows may hold it for a moment longer
        self.pictures = [Picture(number, name, path, self.maps) for number, (name, path) in enumerate(paths.items())]
        self.by_name = {picture.name: picture for picture in self.pictures}
        self.by_file = {picture.path.relative_to(out / "images").as_posix(): picture for picture in self.pictures}
        self.pyramids = Pyramids(rendering)
        self.classes, self.ignore = classes, ignore
        self.done: deque = deque(maxlen=STEPS_BACK)      # what undo takes back: (event, what was there before)
        self.undone: list[dict] = []                     # what redo does again
        self.strokes = 0                                 # in the journal, whether undone or not
        self.counts: Counter = Counter()                 # strokes of each class so far
        self.painted = np.zeros(IGNORE + 1, int)         # pixels of each class, over all pictures
        self.requests: deque[str] = deque(maxlen=REMEMBERED)
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.revision, self.run = 0, secrets.token_hex(8)
        self.tell: Callable[[tuple], None] = lambda message: None    # the learner
        self.learner = {"model": "fcn", "learning": True, "step": 0, "message": "paint strokes of two classes"}
        self.network = {"halo": 8, "stride": 2, "limit": MAX_SIDE, "steps": [2, "/", 1, "*", 2], "zoom": 1}
        self.loss: deque = deque(maxlen=300)
        self.agreement: deque = deque(maxlen=300)
        self.shown: tuple[int, list[int]] | None = None  # (picture, box) in view
        self.chosen = False                              # whether somebody chose the model
        self.answers: dict[int, Any] = {}                # of the learner, about pixels
        self.unsaved: set[int] = set()                   # numbers of the pictures whose masks are to be written
        self.ended = False
        self.open_journal(out / "strokes.jsonl", begun)
        self.saver = threading.Thread(target=self.save_masks, daemon=True)
        self.saver.start()

    def open_journal(self, path: Path, begun: bool) -> None:
        """Do again what the journal holds, or begin one. Raises BadInput."""
        events = read_journal(path) if path.exists() else []
        if events:
            former, self.ignore = events[0]["classes"], events[0]["ignore"]
            values = [entry["value"] for entry in former]
            if not begun and [entry["value"] for entry in self.classes] != values:
                raise BadInput(f"{self.out} was begun with classes of the values {values}; expected that checkpoint")
            self.classes = former
        self.journal = Journal(path)
        if not events:
            self.journal.add({"written by": MARK, "classes": self.classes, "ignore": self.ignore})
        self.repeat(events[1:])
        self.write_classes()

    def repeat(self, events: list[dict]) -> None:
        """Do again what a journal tells; strokes that were undone are passed over."""
        done: list[dict] = []
        accepted = {}
        for event in events:
            if "stroke" in event:
                done.append(self.numbered(event))
                self.undone.clear()
            elif "undo" in event and done:
                self.undone.append(done.pop(place_of(event["undo"], done)))
            elif "redo" in event and self.undone:
                done.append(self.undone.pop(place_of(event["redo"], self.undone)))
            elif "classes" in event:
                self.classes = event["classes"]
            elif "accept" in event:
                accepted[event["accept"]] = event["accepted"]
            self.remember(event.get("request"))
        self.undone = [event for event in self.undone if event["stroke"]["image"] in self.by_name]
        gone = sum(event["stroke"]["image"] not in self.by_name for event in done)
        if gone:
            print(f"{gone} strokes are left out: their images are no longer in {self.out / 'images'}")
        for event in done:
            if event["stroke"]["image"] in self.by_name:
                self.paint(event)
        for name in [name for name, yes in accepted.items() if yes and name in self.by_name]:
            picture = self.by_name[name]
            picture.accepted = self.read_accepted(picture)
            picture.accepted_version = 0
            self.unsaved.add(picture.number)

    def numbered(self, event: dict) -> dict:
        """Return a stroke's event with its number, counted from the journal's beginning."""
        self.strokes += 1
        return {**event, "number": self.strokes}

    # What the page asks for

    def state(self) -> dict:
        """Return all that the page shows beside the pictures."""
        with self.lock:
            images = [{"id": picture.number, "name": name, "width": picture.width, "height": picture.height,
                       "strokes": picture.strokes_version, "prediction": picture.prediction_version,
                       "whole": picture.whole, "accepted": picture.accepted_version}
                      for name, picture in self.by_file.items()]
            return {"images": images, "classes": self.classes, **self.learner, "models": available_models(),
                    "loss": list(self.loss), "agreement": list(self.agreement),
                    "painted": self.painted[:len(self.classes)].tolist(), "undo": bool(self.done),
                    "redo": bool(self.undone), "revision": self.revision, "run": self.run, "out": str(self.out),
                    "commands": self.commands()}

    def wait(self, after: int, seconds: float = 20) -> dict:
        """Return the state once it is newer than the revision `after`, or after some seconds."""
        with self.changed:
            self.changed.wait_for(lambda: self.revision > after or self.ended, seconds)
            return self.state()

    def raise_revision(self) -> None:
        with self.changed:
            self.revision += 1
            self.changed.notify_all()

    def commands(self) -> list[str]:
        """Return the command lines that use what was made."""
        out, model = as_typed(str(self.out)), as_typed(str(self.out / "model.pt"))
        found = []
        if (self.out / "model.pt").exists():
            found += [f"python predict.py NEXT.jpg --checkpoint {model} --out NEXT_mask.png",
                      f"python infer.py IMAGE_DIR MASK_DIR --checkpoint {model}"]
        if (self.out / "masks").is_dir():
            found.append(f"python train.py --data {out} --out RUN_DIR")
        return found

    def picture(self, which: Any) -> Picture:
        """Return a picture by the name that the state gives it, or its id, which is of this run. Raises BadInput."""
        if isinstance(which, str) and which in self.by_file:
            return self.by_file[which]
        check(type(which) is int and 0 <= which < len(self.pictures), "an image that is there")
        return self.pictures[which]

    def tile(self, number: int, kind: str, level: int, column: int, row: int) -> tuple[bytes, str]:
        """Return (content, type) of a tile's file. Raises KeyError where there is none."""
        picture = self.picture(number)
        if level > 16 or 2**level >= 2 * max(picture.height, picture.width):
            raise KeyError("a level below one pixel")
        step = 2**level
        if kind == "image":
            tile = tile_of(self.pyramids.level(picture, level), column, row)
            return (as_file(tile), "image/png") if level == 0 else (as_file(tile, "JPEG"), "image/jpeg")
        if kind != "strokes" and not picture.prediction_version:
            raise KeyError("no prediction yet")
        region = tile_of(picture.map(kind), column, row, step)
        if kind == "strokes" and step > 1:
            return as_file(any_painted(region, step)), "image/png"
        return as_file(region[::step, ::step]), "image/png"

    def pixel(self, number: int, x: int, y: int) -> dict:
        """Return what is known of a pixel: the square that the network saw, probabilities, stroke and prediction."""
        picture = self.picture(number)
        check(x < picture.width and y < picture.height, "a pixel of the image")
        known = lambda kind: None if picture.map(kind)[y, x] == IGNORE else int(picture.map(kind)[y, x])
        window = next(tile for tile in self.tiles_of(picture)
                      if tile["core"][0] <= x < tile["core"][2] and tile["core"][1] <= y < tile["core"][3])
        across, down = (sees(place, length, self.network["steps"], self.network["zoom"])
                        for place, length in ((x, picture.width), (y, picture.height)))
        return {"x": x, "y": y, "sees": [across[0], down[0], across[1], down[1]], **window,
                "probabilities": self.ask(picture, x, y), "stroke": known("strokes"),
                "prediction": known("prediction")}

    def ask(self, picture: Picture, x: int, y: int, seconds: float = 2) -> list[float] | None:
        """Return the learner's class probabilities at a pixel; None where it has none, or is not quick enough."""
        if not picture.prediction_version:
            return None
        ticket = secrets.randbits(60)
        with self.changed:
            self.answers[ticket] = None
        self.tell(("pixel", ticket, picture.number, x, y))
        with self.changed:
            self.changed.wait_for(lambda: self.answers[ticket] is not None, seconds)
            return self.answers.pop(ticket)

    def tiles_of(self, picture: Picture) -> Iterator[dict]:
        """Yield the windows that stitch a picture, {"window": [x0, y0, x1, y1], "core": the same of what is kept}.

        They are cut at the network's zoom, and told in the picture's own pixels.
        """
        network, size = self.network, (picture.height, picture.width)
        zoomed = zoomed_size(size, network["zoom"])
        height, width, cover = tiles(*zoomed, network["halo"], network["stride"], limit=network["limit"])
        for tile in cover:
            window = [tile.x, tile.y, min(tile.x + width, zoomed[1]), min(tile.y + height, zoomed[0])]
            yield {"window": scaled(window, zoomed, size),
                   "core": scaled([tile.left, tile.top, tile.right, tile.bottom], zoomed, size)}

    def windows(self, number: int) -> dict:
        """Return the windows and cores of a picture, none where they are too many to draw."""
        every = list(self.tiles_of(self.picture(number)))
        if len(every) > MOST_WINDOWS:
            return {"windows": [], "cores": [], "message": f"{len(every)} windows are too many to draw"}
        return {"windows": [tile["window"] for tile in every], "cores": [tile["core"] for tile in every]}

    def worst(self, number: int) -> dict | None:
        """Return where a picture is to be painted next: the centre of the most uncertain place away from strokes."""
        picture = self.picture(number)
        if not picture.prediction_version:
            return None
        size = 16                                # pixels a side of the squares that are compared
        doubt = Image.fromarray(np.asarray(picture.map("uncertainty"))).reduce(size).filter(ImageFilter.BoxBlur(1))
        painted = any_painted(np.asarray(picture.map("strokes")), size) != IGNORE
        near = Image.fromarray(painted).convert("L").filter(ImageFilter.MaxFilter(3))
        values = np.where(np.asarray(near) > 0, 0, np.asarray(doubt).astype(int))
        row, column = np.unravel_index(values.argmax(), values.shape)
        return {"x": int(min(column * size + size // 2, picture.width - 1)),
                "y": int(min(row * size + size // 2, picture.height - 1)),
                "uncertainty": int(values[row, column]) / 255}

    # What the page does; post returns the state

    def post(self, name: str, body: dict) -> dict:
        """Carry out what the page asks for, once, and return the state. Raises BadInput, KeyError for another name."""
        actions = {"stroke": self.stroke, "undo": self.undo, "redo": self.redo, "classes": self.set_classes,
                   "view": self.view, "learn": self.learn, "accept": self.accept}
        action = actions[name]
        request = body.get("request")
        check(request is None or isinstance(request, str) and len(request) <= 100, "a short text as request")
        with self.lock:
            if request is None or request not in self.requests:
                try:
                    action(body, {} if request is None else {"request": request})
                except OSError as error:
                    raise BadInput(str(error)) from error
                self.remember(request)
            return self.state()

    def remember(self, request: str | None) -> None:
        if request is not None:
            self.requests.append(request)

    def stroke(self, body: dict, request: dict) -> None:
        """Paint, erase or fill, once that is on the disk."""
        picture = self.picture(body.get("image"))
        stroke = check_stroke(body, len(self.classes))
        picture.open_maps()                      # what they have no room for must not stand in the journal
        top, left, area = self.area(picture, stroke)
        if not area.any():
            return
        event = {"stroke": {"image": picture.name, **stroke, "role": self.role(picture, stroke, top, left, area)},
                 **request}
        self.journal.add(event)
        self.undone.clear()
        self.paint(self.numbered(event), (top, left, area))
        self.raise_revision()

    def area(self, picture: Picture, stroke: dict) -> tuple[int, int, np.ndarray]:
        """Return the pixels that a stroke covers: (top, left, bool (h, w))."""
        if stroke["tool"] != "fill":
            return covered(np.array(stroke["points"], float), stroke["width"], picture.height, picture.width)
        x, y = (math.floor(part) for part in stroke["points"][0])
        if not (0 <= x < picture.width and 0 <= y < picture.height):
            return 0, 0, np.zeros((0, 0), bool)
        return region_around(picture.map("strokes"), x, y)

    def role(self, picture: Picture, stroke: dict, top: int, left: int, area: np.ndarray) -> int:
        """Return what a stroke is for: a correction, where most of its pixels are predicted to be another class.

        Of the others, one in ASIDE of each class is put aside, the rest is learned from.
        """
        if stroke["class"] is None:
            return LEARNT
        if picture.prediction_version:
            said = picture.map("prediction")[top:top + area.shape[0], left:left + area.shape[1]][area]
            if np.mean(said != stroke["class"]) > 0.5 and (said != IGNORE).all():
                return CORRECTION
        return PUT_ASIDE if self.counts[stroke["class"]] % ASIDE == ASIDE - 1 else LEARNT

    def paint(self, event: dict, area: tuple[int, int, np.ndarray] | None = None) -> None:
        """Change the maps of a picture as an event of the journal says, so that it can be undone."""
        stroke = event["stroke"]
        picture = self.by_name[stroke["image"]]
        top, left, inside = self.area(picture, stroke) if area is None else area
        place = np.s_[top:top + inside.shape[0], left:left + inside.shape[1]]
        strokes, roles = picture.map("strokes")[place], picture.map("roles")[place]
        self.done.append((event, place, *(zlib.compress(array.tobytes(), 1) for array in (strokes, roles))))
        self.count(strokes[inside], -1)
        strokes[inside] = IGNORE if stroke["class"] is None else stroke["class"]
        self.count(strokes[inside], 1)
        roles[inside] = stroke["role"]
        self.counts[stroke["class"]] += 1
        self.repainted(picture, place)

    def count(self, strokes: np.ndarray, sign: int) -> None:
        """Count pixels of the strokes of each class, with sign 1, or no longer, with −1."""
        self.painted += sign * np.bincount(strokes.ravel(), minlength=IGNORE + 1)

    def repainted(self, picture: Picture, place: tuple[slice, slice]) -> None:
        """Tell whoever has to know that the strokes of a part of a picture have changed."""
        picture.strokes_version += 1
        picture.open_maps()
        self.tell(("strokes", picture.number, [place[1].start, place[0].start, place[1].stop, place[0].stop]))
        self.unsaved.add(picture.number)

    def undo(self, body: dict, request: dict) -> None:
        """Take the last stroke back, if there is one."""
        if not self.done:
            return
        self.journal.add({"undo": self.done[-1][0]["number"], **request})
        event, place, *before = self.done.pop()
        self.undone.append(event)
        stroke = event["stroke"]
        picture = self.by_name[stroke["image"]]
        for kind, packed in zip(("strokes", "roles"), before):
            array = picture.map(kind)[place]
            if kind == "strokes":
                self.count(array, -1)
            array[:] = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(array.shape)
        self.count(picture.map("strokes")[place], 1)
        self.counts[stroke["class"]] -= 1
        self.repainted(picture, place)
        self.raise_revision()

    def redo(self, body: dict, request: dict) -> None:
        """Paint the last stroke that was taken back again, if there is one."""
        if not self.undone:
            return
        self.journal.add({"redo": self.undone[-1]["number"], **request})
        self.paint(self.undone.pop())
        self.raise_revision()

    def set_classes(self, body: dict, request: dict) -> None:
        """Rename classes, give them other colours, add new ones behind them."""
        wanted = body.get("classes")
        check(isinstance(wanted, list) and len(self.classes) <= len(wanted) <= IGNORE,
              f"{len(self.classes)} to {IGNORE} classes")
        check(all(isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in wanted) and
              all(0 < len(entry["name"].strip()) <= 100 for entry in wanted),
              "a name of 1 to 100 letters for each class")
        values = [entry["value"] for entry in self.classes]
        for _ in wanted[len(values):]:
            values.append(next_value(values, self.ignore))
        classes = [{"name": entry["name"].strip(), "value": value, "colour": entry.get("colour")}
                   for entry, value in zip(wanted, values)]
        try:
            check_classes(classes, [self.ignore])
        except ValueError as error:
            raise BadInput(f"the classes: {error}") from None
        if classes != self.classes:
            self.journal.add({"classes": classes, **request})
            self.classes = classes
            self.write_classes()
            self.tell(("classes", classes))
            self.raise_revision()

    def view(self, body: dict, request: dict) -> None:
        """Tell the learner what is in view."""
        picture, box = self.picture(body.get("image")), check_box(body.get("box"))
        picture.open_maps()
        self.shown = picture.number, box
        self.tell(("view", *self.shown))

    def learn(self, body: dict, request: dict) -> None:
        """Let the network learn, let it wait, or choose another one."""
        learning, model = body.get("learning", self.learner["learning"]), body.get("model", self.learner["model"])
        check(type(learning) is bool, "learning true or false")
        check(model in available_models(), f"one of the models {', '.join(available_models())}")
        self.learner.update(learning=learning, model=model)
        self.chosen = True
        self.tell(("learn", learning, model))
        self.raise_revision()

    def accept(self, body: dict, request: dict) -> None:
        """Take the prediction of a picture as its mask, strokes on top; or its strokes alone."""
        picture, accepted = self.picture(body.get("image")), body.get("accepted")
        check(type(accepted) is bool, "accepted true or false")
        if accepted:
            check(picture.whole, "the whole image predicted before it is accepted; wait a moment")
            prediction = np.array(picture.map("prediction"))
            path = self.accepted_path(picture)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, prediction)
        self.journal.add({"accept": picture.name, "accepted": accepted, **request})
        picture.accepted = prediction if accepted else None
        picture.accepted_version = picture.prediction_version if accepted else None
        self.unsaved.add(picture.number)
        self.raise_revision()

    # What is written

    def accepted_path(self, picture: Picture) -> Path:
        return self.out / "accepted" / f"{picture.name}.png"

    def read_accepted(self, picture: Picture) -> np.ndarray:
        """Return the class indices (H, W) of a prediction that was accepted. Raises BadInput."""
        path = self.accepted_path(picture)
        indices = read_mask(path)
        if indices.shape != (picture.height, picture.width) or indices.max() >= len(self.classes):
            raise BadInput(f"{path} is not as this program wrote it; remove it, and accept the prediction again")
        return indices.astype(np.uint8)

    def write_classes(self) -> None:
        """Write classes.json."""
        path = self.out / "classes.json"
        if not keeps_changes(path):
            write_json(path, {"classes": self.classes, "ignore": [self.ignore], **rendering_entries(self.rendering)})

    def mask_of(self, picture: Picture) -> np.ndarray:
        """Return a picture's mask as class indices (H, W): its strokes, below them the prediction that was accepted."""
        strokes = np.array(picture.map("strokes"))
        return strokes if picture.accepted is None else np.where(strokes == IGNORE, picture.accepted, strokes)

    def write_mask(self, picture: Picture) -> None:
        """Write a picture's mask, or remove it where nothing is painted any more; one that a person changed is kept."""
        path = self.out / "masks" / f"{picture.name}.png"
        with self.lock:
            mask = self.mask_of(picture)
        if keeps_changes(path):
            return
        if min(mask.shape) < SMALLEST or (mask == IGNORE).all():     # of which train.py takes none
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        values = [*self.classes, {"value": self.ignore}]
        write_image(path, to_values(np.where(mask == IGNORE, len(self.classes), mask), values))

    def save_masks(self) -> None:
        """Write the masks that have changed, until the session ends; what cannot be written is tried again."""
        last = False
        while not last:
            last = self.ended
            for number in self.unsaved.copy():
                self.unsaved.discard(number)     # before: what is painted from now on is another change
                try:
                    self.write_mask(self.pictures[number])
                except (BadInput, OSError) as error:
                    self.unsaved.add(number)
                    self.say(str(error))
                    with self.changed:
                        self.changed.wait_for(lambda: self.ended, 3)
            time.sleep(0.05)

    def say(self, message: str) -> None:
        """Show a line in the page."""
        self.learner["message"] = message
        self.raise_revision()

    def end(self) -> None:
        """Write what is still to be written."""
        with self.changed:
            self.ended = True
            self.changed.notify_all()
        self.saver.join()
        for picture in self.pictures:
            picture.arrays.clear()
        shutil.rmtree(self.maps, ignore_errors=True)

    # What the learner tells

    def hear(self, message: tuple) -> None:
        """Take what the learner tells."""
        kind, *rest = message
        with self.lock:
            if kind == "steps":
                step, loss, agreement = rest
                self.learner["step"] = step
                if math.isfinite(loss):          # else it has diverged, and JSON knows no such numbers
                    self.loss.append([step, loss])
                if agreement is not None:
                    self.agreement.append([step, agreement])
            elif kind == "predicted":
                number, whole = rest
                self.pictures[number].prediction_version += 1
                self.pictures[number].whole |= whole
            elif kind == "network":
                model, self.network = rest
                if not self.chosen:
                    self.learner["model"] = model
            elif kind == "answer":
                ticket, answer = rest
                if ticket in self.answers:
                    self.answers[ticket] = answer
            elif kind == "message":
                self.learner["message"], = rest
        self.raise_revision()


def available_models() -> list[str]:
    return ["fcn", "unet"] + ["forest"] * (find_spec("sklearn") is not None)


def next_value(values: list, ignore: Any) -> Any:
    """Return a mask value for a new class: the least grey level that is free or, among colours, a free colour."""
    if isinstance(ignore, list):
        choices = [list(ImageColor.getrgb(colour)) for colour in [*PALETTE, *COLOURS]]
        choices += [[level, level, 128] for level in range(256)]
    else:
        choices = list(range(65536))
    return next(value for value in choices if value not in values and value != ignore)
