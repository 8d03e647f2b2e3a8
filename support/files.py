"""Files written whole or not at all, never over a user's own."""
import contextlib
import errno
import functools
import hashlib
import json
import os
import re
import secrets
import shutil
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, PngImagePlugin

from support.mistakes import BadInput

MARK = "segmentation-from-scratch"  # stands in every file we write; a file without it is not ours to overwrite
STAMP = f"{MARK} {'0' * 16}"        # what a person might change has this; `seal` replaces the zeros by a digest
STAMPED = re.compile(MARK.encode() + rb" ([0-9a-f]{16})")
NEAR = 4096                         # bytes at the start or the end of a file, among which the mark stands
PNG_TEXT = b"tEXtSoftware\0"        # before the mark in a PNG; behind it, in four bytes, is a checksum of both
PICTURES = (".png", ".jpg", ".jpeg")
TIFFS = (".tif", ".tiff")


class CannotWrite(BadInput):
    """The system refuses to write a file: nothing is wrong with what was read."""


def is_jpeg(path: Path | str) -> bool:
    return Path(path).suffix.lower() in (".jpg", ".jpeg")


def is_ours(path: Path | str, mark: str = MARK) -> bool:
    """Return whether we wrote a file and nobody has changed it since: it holds our mark and, with it, its digest.

    Files of earlier versions have the mark alone, as have those that nobody changes by hand.
    """
    with open(path, "rb") as file:
        ends = file.read(NEAR)
        file.seek(max(len(ends), os.path.getsize(path) - NEAR))
        ends += file.read()
        # Not as a folder in a path: the project's own may have that name.
        marked = re.search(rb"(?<![/\\])" + re.escape(mark.encode()) + rb"(?![/\\])", ends) is not None
        if not marked or not STAMPED.search(ends):
            return marked
        stamp = find_stamp(file)
        if stamp is None:                        # it lies across both ends: nowhere did we write it so
            return False
        file.seek(stamp)
        return file.read(16) == digest_around(file, stamp)


def find_stamp(file: BinaryIO) -> int | None:
    """Return where an open file holds the digits of a digest, after our mark, or None."""
    for start in (0, max(0, os.fstat(file.fileno()).st_size - NEAR)):
        file.seek(start)
        found = STAMPED.search(file.read(NEAR))
        if found:
            return start + found.start(1)
    return None


def digest_around(file: BinaryIO, stamp: int) -> bytes:
    """Return the first 16 digits of the SHA-256 of an open file's content without the stamp, as bytes."""
    file.seek(0)
    checksum = 4 if file.read(4) == b"\x89PNG" else 0                 # it changes with the stamp
    digest = hashlib.sha256()
    for start, stop in (0, stamp), (stamp + 16 + checksum, os.fstat(file.fileno()).st_size):
        file.seek(start)
        for position in range(start, stop, 2**20):                    # a mask may be larger than memory
            digest.update(file.read(min(2**20, stop - position)))
    return digest.hexdigest()[:16].encode()


def seal(path: Path | str) -> None:
    """Put a digest of a file into its STAMP, if it has one: so is_ours knows whether anybody has changed it since."""
    with open(path, "rb+") as file:
        stamp = find_stamp(file)
        if stamp is None:
            return
        digest = digest_around(file, stamp)
        file.seek(0)
        if file.read(4) == b"\x89PNG":
            text = PNG_TEXT + MARK.encode() + b" " + digest
            digest += zlib.crc32(text).to_bytes(4, "big")
        file.seek(stamp)
        file.write(digest)


def check_writable(path: Path | str, *inputs: Path | str, endings: Iterable[str] | None = None,
                   mark: str = MARK) -> Path:
    """Check, before any work, that `path` may be written, make its folder, and return it as a Path.

    Raises BadInput for a name without one of the `endings`, a file that is there and not as we wrote it (see
    is_ours), one that is also an input, and a folder in which no file can be made.
    """
    path = Path(path)
    try:
        if path.is_dir() or not path.name:
            raise BadInput(f"{path} is a folder; expected the name of a file to write")
        if endings and path.suffix.lower() not in endings:
            raise BadInput(f"{path} ends in {path.suffix or 'nothing'}; expected {' or '.join(endings)}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            path.stat()                          # says what exists() does not, as that a name is too long
        if path.is_symlink() and not path.exists():
            raise BadInput(f"{path} is a link to {os.readlink(path)}, which is not there; write elsewhere")
        if path.exists():
            if not path.is_file():               # to read a pipe would wait for who writes to it
                raise BadInput(f"{path} is no file but a pipe or a device; write elsewhere")
            if any(is_same(path, source) for source in inputs):
                raise BadInput(f"{path} is an input and would be overwritten; write elsewhere")
            if not is_ours(path, mark):
                raise BadInput(f"{path} exists and was not written by this program, or was changed since; move it, or "
                               "write elsewhere")
        temporary = temporary_name(path)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}); write elsewhere") from error
    return path


def lies_in(path: Path | str, folder: Path | str) -> bool:
    """Return whether a path is this folder, or one inside of it, whatever links lead there."""
    real = Path(os.path.realpath(path))
    return any(is_same(part, folder) for part in (real, *real.parents))


def is_same(path: Path | str, other: Path | str) -> bool:
    """Return whether two paths lead to the same place, which need not be there yet.

    Where it is, the system tells: masks and Masks are one folder on some disks.
    """
    with contextlib.suppress(OSError, ValueError):
        return os.path.samefile(path, other)
    return os.path.realpath(path) == os.path.realpath(other)


def keep_apart(output: Path | str, *folders: Path | str | None) -> None:
    """Raise BadInput where `output` lies inside one of the folders: what is written there would be taken for input."""
    for folder in folders:
        if folder and lies_in(output, folder):
            raise BadInput(f"{output} is inside {folder}; write elsewhere, or the results would be taken for images")


def keeps_changes(path: Path) -> bool:
    """Return whether a file is there that is not as we wrote it, and say that it is kept."""
    with contextlib.suppress(PermissionError):   # what cannot be read is not ours to replace
        if not path.exists() or is_ours(path):
            return False
    print(f"kept as it is, since this program did not write it or somebody changed it: {path}")
    return True


def check_no_truth(path: Path | str) -> None:
    """Raise BadInput for a prediction among the masks of a data set that this program made: these are the truth.

    They carry its mark, as predictions do, and would be overwritten. The folder of the masks may be a link.
    """
    typed, real = Path(os.path.abspath(path)), Path(os.path.realpath(path))
    for masks in (typed, *typed.parents, real, *real.parents):
        if (masks.parent / "made_of.json").exists() and is_same(masks, masks.parent / "masks"):
            raise BadInput(f"{path} is among the true masks of a data set, see {masks.parent / 'made_of.json'}; write "
                           "elsewhere")


@contextlib.contextmanager
def begin_folder(folder: Path, metadata: dict, anew: bool = False) -> Iterator[None]:
    """Make a folder for results that depend on these metadata, or go on in one that was begun with the same.

    Inside `with begin_folder(...):` no other process writes to it. The metadata stand in made_of.json there:
    names and what JSON can hold. `anew` allows others than it was begun with. Raises BadInput where the folder
    holds other things.
    """
    note = folder / "made_of.json"
    check_begun(folder, note)
    with one_writer(folder):
        before = check_begun(folder, note)
        for name, value in metadata.items():
            if before and before.get(name) != value and not anew:
                raise BadInput(f"{folder} was begun with another {name}, {before.get(name)}, not {value}; expected a "
                               "new folder, as the two must not be mixed")
        write_json(check_writable(note), metadata)
        try:
            yield
        except BadInput:
            if not any(path.is_file() and not path.name.startswith(".") for path in folder.rglob("*") if path != note):
                note.unlink()                    # nothing was made, so other files may be tried
            raise


def check_begun(folder: Path, note: Path) -> dict:
    """Return the metadata that a folder was begun with, none if it is new. Raises BadInput for any other folder."""
    if note.is_file() and is_ours(note):
        try:
            return dict(json.loads(note.read_text(encoding="utf-8")))
        except (TypeError, ValueError, RecursionError):
            raise BadInput(f"{note} is damaged; expected a new folder") from None
    if folder.exists() and (not folder.is_dir() or any(not entry.name.startswith(".") for entry in folder.iterdir())):
        raise BadInput(f"{folder} is there and holds other things; expected a new folder")
    return {}


@contextlib.contextmanager
def one_writer(folder: Path | str, file_name: str = "") -> Iterator[None]:
    """Let no other process write to a folder, inside `with one_writer(folder):`; the lock dies with the process.

    With a `file_name`, others may write other files there. Raises BadInput where another process has the lock, since
    two runs would mix their files.
    """
    path = Path(folder) / (f".{file_name}.lock" if file_name else ".lock")
    with contextlib.ExitStack() as stack:
        file = None
        while file is None or not is_still(path, file):              # who had it may remove it in this moment
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(open(path, "ab"))
            except OSError as error:
                raise BadInput(f"{folder} cannot be written to ({error.strerror}); write elsewhere") from error
            if not lock(file):
                raise BadInput(f"{Path(folder, file_name)} is being written to by another process; wait for its end, "
                               "or write elsewhere")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):   # Windows removes no open file; an empty one may stay
                path.unlink()


def is_still(path: Path, file: BinaryIO) -> bool:
    """Return whether an open file is the one that has this path."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def lock(file: BinaryIO) -> bool:
    """Lock an open file for this process and return whether that went well: no other one has it."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:                     # else the file system knows no locks: go on without
        return error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
    return True


def set_of_files(paths: list[Path]) -> str:
    """Return the number of files and a digest of their names and sizes, as a short text, to recognize them by."""
    size = lambda path: os.path.getsize(path) if os.path.exists(path) else 0          # a link may lead nowhere
    listing = "\n".join(f"{Path(path).name} {size(path)}" for path in paths)
    return f"{len(paths)} {hashlib.sha256(listing.encode(errors='surrogateescape')).hexdigest()[:16]}"


def temporary_name(path: Path) -> Path:
    """Return where a file is written until it is whole: in the same folder, so that renaming is a single step.

    No other process has the name, and no file of a user.
    """
    remove_left_over(path.parent)
    return path.with_name(f".{MARK}-{secrets.token_hex(8)}.part")


@functools.cache
def remove_left_over(folder: Path) -> None:
    """Remove, once a process, what a process left in a folder that was killed while it wrote there."""
    for path in folder.glob(f".{MARK}-*.part"):
        with contextlib.suppress(OSError):       # another process may remove it, too
            if time.time() - path.stat().st_mtime > 3600:
                path.unlink()


@contextlib.contextmanager
def write_whole(path: Path | str) -> Iterator[Path]:
    """Let a file be written to another name first: `path` changes only when that went well.

    Use it as `with write_whole(path) as temporary:` and write to `temporary`.

    Raises CannotWrite where the system refuses: no space, no permission, open in another program (Windows).
    """
    temporary = temporary_name(Path(path))
    try:
        yield temporary
        flush_to_disk(temporary)
        rename(temporary, path)
    except OSError as error:
        gone = error.errno in (errno.ENOENT, errno.ENOTDIR)
        remedy = "expected its folder to stay" if gone else "make room for it, or close the program that has it open"
        raise CannotWrite(f"{path} cannot be written ({error.strerror or error}); {remedy}") from error
    finally:
        with contextlib.suppress(OSError):       # its folder may be gone
            temporary.unlink()


def flush_to_disk(path: Path) -> None:
    """Wait until a file's content is on the disk: after a power cut, a renamed file may else be empty."""
    with contextlib.suppress(PermissionError), open(path, "rb+") as file:        # a link to a file that is read-only
        os.fsync(file.fileno())


def rename(source: Path, target: Path | str) -> None:
    """Put a file in the place of another in a single step; on Windows, wait until nobody has that open."""
    for _ in range(19 if os.name == "nt" else 0):
        try:
            return os.replace(source, target)
        except PermissionError:                  # a virus scanner or a reader has it open for a moment
            time.sleep(0.1)
    os.replace(source, target)


def remove(path: Path) -> None:
    """Remove a file, if it is there. Raises BadInput."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:                 # Windows: another program shows it
        raise BadInput(f"{path} cannot be removed ({error.strerror}); close the program that has it open") from error


def take(source: Path, target: Path, link: bool = True) -> None:
    """Link a file to another place where the system can, else copy it, unless the target exists.

    Without `link` it is copied: who changes a linked file in its place changes both.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(target) as temporary:
        try:
            (os.link if link else shutil.copyfile)(source.resolve(), temporary)   # or a relative link points nowhere
        except OSError:          # another disk, or a file system without links
            shutil.copyfile(source, temporary)


def write_text(path: Path | str, text: str) -> None:
    """Write a text file with a STAMP in it, whole or not at all."""
    with write_whole(path) as temporary:
        # A file's name may be no UTF-8; its bytes are written as they are.
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")
        seal(temporary)


def write_json(path: Path | str, content: dict, **layout: Any) -> None:
    """Write a dict as JSON, first of all who wrote it."""
    write_text(path, json.dumps({"written by": STAMP, **content}, allow_nan=False, **{"indent": 1, **layout}))


def write_image(path: Path | str, array: Any, **changed: Any) -> None:
    """Save uint8 or uint16 (H, W), or uint8 (H, W, 3), in the format that the name ends in; 16 bits as PNG or TIFF.

    Lossless, but for JPEG: that has full colour resolution and little loss, a 0/255 mask is exact when
    thresholded at half. `changed` are options of Pillow's writer that differ from ours.
    """
    note = PngImagePlugin.PngInfo()
    note.add_text("Software", STAMP)
    options = {".png": {"format": "PNG", "pnginfo": note},
               ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0, "comment": STAMP},
               ".tif": {"format": "TIFF", "compression": "tiff_deflate", "software": STAMP},
               ".bmp": {"format": "BMP"},
               ".webp": {"format": "WEBP", "lossless": True, "exact": True, "xmp": STAMP.encode()}}
    ending = {".jpeg": ".jpg", ".tiff": ".tif"}.get(Path(path).suffix.lower(), Path(path).suffix.lower())
    with write_whole(path) as temporary:
        Image.fromarray(array).save(temporary, **{**options[ending], **changed})
        if ending == ".bmp":     # which has no place for remarks; readers stop before what follows the pixels
            with temporary.open("ab") as file:
                file.write(STAMP.encode())
        seal(temporary)
