"""Paint strokes on images in the browser and watch a network learn from them, from a picture without a mask to both.

    python -m tools.paint                              the bundled sample
    python -m tools.paint photo.jpg more.jpg --out painted
    python -m tools.paint DIR --checkpoint model.pt    corrects the predictions of a network

Nothing that was painted is lost, whenever the program ends: the same command goes on. It leaves a folder that
train.py --data reads (images, masks of what was painted, classes.json) and the network, model.pt, for predict.py and
infer.py.
"""
from support.script import run_script
from tools.arguments import paint_arguments

if __name__ == "__main__":
    ARGS = paint_arguments(description=__doc__)        # before the imports that take seconds

import contextlib
import io
import threading
import unicodedata
import webbrowser
from argparse import Namespace
from pathlib import Path

from PIL import ImageColor

from support.classes import read_rendering
from support.files import BadInput, begin_folder, check_writable, lies_in, take, write_image
from support.images import AS_FOUND, Rendering, find_rendering, head_and_length, image_size, parse_rendering
from support.masks import are_coloured, class_colours
from support.mistakes import Unreadable
from support.names import READABLE, images_by_name, is_passed_over
from support.notes import print_notes
from support.sample import photograph
from support.tiff import check_pixels
from tools.paint.process import Process
from tools.paint.server import open_server
from tools.paint.session import COLOURS, Session


def find_sources(words: list[str]) -> dict[str, Path]:
    """Return {name: path} of the images that a command line names, files or folders. Raises BadInput."""
    found: dict[str, Path] = {}
    for word in words:
        path = Path(word)
        if path.is_dir():
            images = images_by_name(path)
        elif is_passed_over(path.name):
            raise BadInput(f"{path} is hidden; expected another name, as a data set's images have")
        elif path.suffix.lower() in READABLE:
            images = {unicodedata.normalize("NFC", path.stem): path}
        else:
            raise BadInput(f"{path} is no image; expected a folder, or a file that ends in {', '.join(READABLE)}")
        for name, image in images.items():
            if name in found and not found[name].samefile(image):
                raise BadInput(f"{found[name]} and {image} have the same name; expected names that differ")
            try:
                height, width = image_size(image)        # whatever is wrong with its header is said now
            except Unreadable as error:
                if not path.is_dir():
                    raise
                print(f"left out: {error}")
                continue
            check_pixels(image, width, height)
            found[name] = image
    if words and not found:
        raise BadInput(f"none of the images in {', '.join(words)} can be read; expected some to paint on")
    return found


def place_images(sources: dict[str, Path], folder: Path) -> None:
    """Link or copy images into the data set; a user's own are never changed. Raises BadInput."""
    there = images_by_name(folder) if folder.is_dir() else {}
    for name, path in sources.items():
        target = folder / f"{name}{path.suffix}"
        if there.get(name, target) != target:
            raise BadInput(f"{there[name]} and {path} differ in nothing but the extension; expected one of them")
        if target.exists() and not target.samefile(path) and head_and_length(target) != head_and_length(path):
            raise BadInput(f"{target} is another image than {path}; expected another --out")
        take(path, target)
    if not sources and not folder.is_dir():
        folder.mkdir(parents=True)
        write_image(folder / "sample.png", photograph())


def begin_classes(checkpoint: str | None) -> tuple[list[dict], object, Rendering]:
    """Return (classes with their colours, the mask value of what is not painted, how images are read).

    They are a checkpoint's where there is one; of how images are read, what was written down for its training.
    """
    colours = [list(ImageColor.getrgb(colour)) for colour in COLOURS]
    if checkpoint is None:
        return [{"name": name, "value": value, "colour": colours[value]}
                for value, name in enumerate(("background", "foreground"))], 255, AS_FOUND
    from model import load_network

    network, metadata = load_network(checkpoint)
    if network.name not in ("fcn", "unet"):
        raise BadInput(f"{checkpoint} holds a network {network.name}; expected fcn or unet, which this can correct")
    classes, ignored = metadata["classes"], metadata["ignore"]
    if len(classes) > 2 or "colour" in classes[0] or are_coloured(classes):
        colours = class_colours(classes).tolist()
    values = [entry["value"] for entry in classes]
    greys = ([level] * 3 if are_coloured(classes) else level for level in (*range(255, -1, -1), *range(256, 65536)))
    ignore = ignored[0] if ignored else next(value for value in greys if value not in values)
    said = parse_rendering(metadata.get("reading", {}))
    return [{**entry, "colour": colour} for entry, colour in zip(classes, colours)], ignore, said


def paint(args: Namespace) -> None:
    """Serve the page until Ctrl-C."""
    out, table = Path(args.out), Path(args.out, "classes.json")
    found = find_sources(args.images)
    sources = {name: path for name, path in found.items() if not lies_in(path.parent, out)}      # placed before
    classes, ignore, said = begin_classes(args.checkpoint)
    with begin_folder(out, {"made by": "tools.paint"}):
        there = images_by_name(out / "images") if (out / "images").is_dir() else {}
        with contextlib.redirect_stdout(io.StringIO()) as remarks:
            said, by = (read_rendering(table), table) if table.exists() else (said, args.checkpoint)
            rendering = find_rendering({**sources, **there}.values(), said, by)       # refused before it is placed
        place_images(sources, out / "images")
        check_writable(out / "model.pt")
        paths = images_by_name(out / "images")
        if args.checkpoint and (out / "model.pt").exists():
            print(f"goes on with {out / 'model.pt'}; --checkpoint is for a folder that has no network yet")
        session = Session(out, paths, rendering, classes, ignore, begun=args.checkpoint is None)
        server = open_server(session, args.port)
        learner = Process(session, args.checkpoint)
        print(f"Paint at http://127.0.0.1:{server.server_port}/{server.token}/ (Ctrl-C ends it, nothing is lost)",
              flush=True)
        print(remarks.getvalue(), end="")
        print_notes()
        try:
            serve(server, not args.no_browser)
        finally:
            learner.end()
            session.end()
            for line in session.commands():
                print(line)


def serve(server, browser: bool) -> None:
    """Answer the page, until Ctrl-C."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    if browser:
        webbrowser.open(f"http://127.0.0.1:{server.server_port}/{server.token}/")
    try:
        while thread.is_alive():
            thread.join(0.5)                     # Windows heeds Ctrl-C between two of them
    finally:
        server.shutdown()


if __name__ == "__main__":
    run_script(paint, ARGS, "tools.paint", interrupted="ended; the same command goes on")
