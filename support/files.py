"""Files written whole or not at all, never over a user's own; and how mistakes are told."""
import contextlib
import errno
import hashlib
import json
import os
import time
from pathlib import Path

from PIL import Image, PngImagePlugin

MARK = "segmentation-from-scratch"  # stands in every file we write; a file without it is not ours to overwrite
PICTURES = (".png", ".jpg", ".jpeg")


class BadInput(ValueError):
    """A user's mistake. Its text is one line: which file, what was found, what was expected, what to do."""


def is_jpeg(path):
    return Path(path).suffix.lower() in (".jpg", ".jpeg")


def is_ours(path, mark=MARK):
    """Return whether a file holds our mark, near its start or its end: other programs seldom copy it."""
    with open(path, "rb") as file:
        start = file.read(4096)
        file.seek(max(len(start), os.path.getsize(path) - 4096))
        return mark.encode() in start or mark.encode() in file.read()


def check_writable(path, *inputs, endings=None, mark=MARK):
    """Check, before any work, that `path` may be written, make its folder, and return it as a Path.

    Raises BadInput for a name without one of the `endings`, a file that is there and was not written by us (it
    lacks `mark`), one that is also an input, and a folder in which no file can be made.
    """
    path = Path(path)
    try:
        if path.is_dir() or not path.name:
            raise BadInput(f"{path} is a folder; expected the name of a file to write")
        if endings and path.suffix.lower() not in endings:
            raise BadInput(f"{path} ends in {path.suffix or 'nothing'}; expected {' or '.join(endings)}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            if any(Path(source).exists() and path.samefile(source) for source in inputs):
                raise BadInput(f"{path} is an input and would be overwritten; write elsewhere")
            if not is_ours(path, mark):
                raise BadInput(f"{path} exists and was not written by this program; move it, or write elsewhere")
        temporary_name(path).touch()
        temporary_name(path).unlink()
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}); write elsewhere") from error
    return path


def keep_apart(output, folder):
    """Raise BadInput where `output` lies inside `folder`: what is written there would be taken for input."""
    if Path(folder).resolve() in [Path(output).resolve(), *Path(output).resolve().parents]:
        raise BadInput(f"{output} is inside {folder}; write elsewhere, or the results would be taken for images")


def begin_folder(folder, metadata, anew=False):
    """Make a folder for results that depend on these metadata, or go on in one that was begun with the same.

    They stand in made_of.json there: names and what JSON can hold. `anew` allows others than it was begun with.
    Raises BadInput where the folder holds other things.
    """
    note = folder / "made_of.json"
    if note.is_file() and is_ours(note):
        try:
            before = json.loads(note.read_text(encoding="utf-8"))
        except ValueError:
            raise BadInput(f"{note} is damaged; expected a new folder") from None
        for name, value in metadata.items():
            if before.get(name) != value and not anew:
                raise BadInput(f"{folder} was begun with another {name}, {before.get(name)}, not {value}; expected a "
                               "new folder, as the two must not be mixed")
    elif folder.exists() and (not folder.is_dir() or any(not entry.name.startswith(".") for entry in folder.iterdir())):
        raise BadInput(f"{folder} is there and holds other things; expected a new folder")
    write_text(check_writable(note), json.dumps({"written by": MARK, **metadata}, indent=1))


@contextlib.contextmanager
def one_writer(folder):
    """Let no other process write to a folder, inside `with one_writer(folder):`; the lock dies with the process.

    Raises BadInput where another one does, since two runs would mix their files.
    """
    path = Path(folder) / ".lock"
    with open(path, "ab") as file:
        try:
            lock(file)
        except OSError as error:                 # else the file system knows no locks: go on without
            if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                raise BadInput(f"{folder} is being written to by another process; wait for its end, or write "
                               "elsewhere") from None
        try:
            yield
        finally:
            with contextlib.suppress(OSError):   # Windows removes no open file; an empty one may stay
                path.unlink()


def lock(file):
    """Lock an open file for this process. Raises OSError where another one has locked it."""
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def set_of_files(paths):
    """Return the number of files and a digest of their names and sizes, as a short text, to recognize them by."""
    listing = "\n".join(f"{Path(path).name} {Path(path).stat().st_size}" for path in paths)
    return f"{len(paths)} {hashlib.sha256(listing.encode(errors='surrogateescape')).hexdigest()[:16]}"


def temporary_name(path):
    """Return where a file is written until it is whole: in the same folder, so that renaming is a single step."""
    return path.with_name(f".{path.name}.part")


@contextlib.contextmanager
def write_whole(path):
    """Let a file be written to another name first: `path` changes only when that went well.

    Use it as `with write_whole(path) as temporary:` and write to `temporary`.

    Raises BadInput where the system refuses: no space, no permission, open in another program (Windows).
    """
    temporary = temporary_name(Path(path))
    try:
        yield temporary
        flush_to_disk(temporary)
        rename(temporary, path)
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror or error}); make room for it, or close the program "
                       "that has it open") from error
    finally:
        temporary.unlink(missing_ok=True)


def flush_to_disk(path):
    """Wait until a file's content is on the disk: after a power cut, a renamed file may else be empty."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def rename(source, target):
    """Put a file in the place of another in a single step; on Windows, wait until nobody has that open."""
    for _ in range(19 if os.name == "nt" else 0):
        try:
            return os.replace(source, target)
        except PermissionError:                  # a virus scanner or a reader has it open for a moment
            time.sleep(0.1)
    os.replace(source, target)


def write_text(path, text):
    """Write a text file, whole or not at all."""
    with write_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_image(path, array, **changed):
    """Save uint8 or uint16 (H, W), or uint8 (H, W, 3), in the format that the name ends in; 16 bits as PNG or TIFF.

    Lossless, but for JPEG: that has full colour resolution and little loss, a 0/255 mask is exact when
    thresholded at half. `changed` are options of Pillow's writer that differ from ours.
    """
    note = PngImagePlugin.PngInfo()
    note.add_text("Software", MARK)
    options = {".png": {"format": "PNG", "pnginfo": note},
               ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0, "comment": MARK},
               ".tif": {"format": "TIFF", "compression": "tiff_deflate", "software": MARK},
               ".bmp": {"format": "BMP"},
               ".webp": {"format": "WEBP", "lossless": True, "exact": True, "xmp": MARK.encode()}}
    ending = {".jpeg": ".jpg", ".tiff": ".tif"}.get(Path(path).suffix.lower(), Path(path).suffix.lower())
    with write_whole(path) as temporary:
        Image.fromarray(array).save(temporary, **{**options[ending], **changed})
        if ending == ".bmp":     # which has no place for remarks; readers stop before what follows the pixels
            with temporary.open("ab") as file:
                file.write(MARK.encode())
