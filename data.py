"""Files and arrays: images, masks, the bundled sample, and outputs written whole or not at all.

    python data.py                writes the sample, rgb.png and gt.png, and augmented patches, patches.png
"""
import argparse
import contextlib
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

MARK = "segmentation-from-scratch"  # stands in every file we write; a file without it is not ours to overwrite
MAX_LENGTH = 65_500              # pixels a side: the most that a JPEG can hold
MAX_VALUES = 16                  # distinct values in a mask; what holds more is not a mask but a picture of one
PICTURES = (".png", ".jpg", ".jpeg")
SAMPLE = ("rgb.png", "gt.png")   # what train.py and predict.py read when nothing else is asked for


class BadInput(ValueError):
    """A user's mistake. Its text is one line: which file, what was found, what was expected, what to do."""


# ---------------------------------------------------------------------------------------------------
# Reading


def open_image(path):
    """A decoded, upright PIL image, or BadInput. Nothing above Pillow's own limit of 89 megapixels is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path)
        if max(image.size) > MAX_LENGTH:
            raise BadInput(f"{path} is {image.width}x{image.height} pixels; expected at most {MAX_LENGTH} a side")
        return ImageOps.exif_transpose(image)           # decodes, too: a truncated file fails here
    except BadInput:
        raise
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist; expected an image file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadInput(f"{path} is too large; expected at most {Image.MAX_IMAGE_PIXELS} pixels") from None
    except Exception as error:   # a decoder raises nearly anything on a damaged file: struct.error, zlib.error, …
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(f"{path} is no readable image ({reason}); expected a whole PNG, JPEG, TIFF or BMP") from error


def read_image(path, ground="white"):
    """An image file as uint8 (H, W, 3): red, green, blue.

    EXIF orientation is applied. Transparent pixels are composited on a ground, so that colours hidden below
    them never show. 16-bit files are scaled to 8 bits (65535 → 255), never clipped; floats must lie in
    [0, 1]. Of several frames the first is read. Raises BadInput.
    """
    image = open_image(path)
    if image.mode.startswith(("I", "F")):               # a single channel of 16 or 32 bits
        values, full = np.asarray(image).astype(np.float64), 1 if image.mode == "F" else 65535
        if not (values.min() >= 0 and values.max() <= full):
            raise BadInput(f"{path} holds values from {values.min():g} to {values.max():g}; expected 0 to {full}")
        return np.repeat(np.rint(values * (255 / full)).astype(np.uint8)[:, :, None], 3, axis=2)
    try:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, ground), image)
        return np.asarray(image.convert("RGB"))
    except ValueError:
        raise BadInput(f"{path} has the colour mode {image.mode}; expected grey, RGB, palette or CMYK") from None


def read_mask(path, threshold=None):
    """A mask file's own values: int32 (H, W), or uint8 (H, W, 3) where it is really coloured.

    A palette gives its indices, a 1-bit file 0 and 255, 16 bits what they hold; what is transparent is black.
    With a threshold, what is at least as bright, on a scale of 0 to 255, becomes 255 and the rest 0. Raises
    BadInput.
    """
    if threshold is not None:
        return np.where(read_image(path, ground="black").mean(axis=2) >= threshold, 255, 0).astype(np.int32)
    image = open_image(path)
    if image.mode in ("1", "L"):
        mask = np.asarray(image.convert("L"))
    elif image.mode == "P" or image.mode.startswith("I"):
        mask = np.asarray(image)
    else:
        mask = read_image(path, ground="black")
        if (mask == mask[:, :, :1]).all():              # grey, saved as colour
            mask = mask[:, :, 0]
    return mask.astype(np.int32) if mask.ndim == 2 else mask


def find_classes(mask, path):
    """The classes of a mask as read_mask gives it: [{"name": "background", "value": 0}, …], ascending by value.

    Of two classes the one of the higher value is called foreground, unless it covers more than three quarters:
    then the mask is taken to be black on white. Raises BadInput where the values cannot be classes.
    """
    codes = mask if mask.ndim == 2 else mask @ np.array([65536, 256, 1])         # a colour as one number
    values, counts = np.unique(codes, return_counts=True)
    if len(values) == 1:
        raise BadInput(f"{path} holds a single value, {mask[0, 0].tolist()}; expected one for each class, at least two")
    most = 2 if Path(path).suffix.lower() in (".jpg", ".jpeg") else MAX_VALUES     # a JPEG invents values at edges
    if len(values) > most:
        raise BadInput(f"{path} holds {len(values)} different values; expected one for each class, at most {most}; "
                       "if it is antialiased or a JPEG, --threshold 128 makes two of them")
    if values[0] < 0 or mask.ndim == 2 and values[-1] > 65535:
        raise BadInput(f"{path} holds values from {values[0]} to {values[-1]}; expected 0 to 65535")
    values = [value if mask.ndim == 2 else [value >> 16, value >> 8 & 255, value & 255] for value in values.tolist()]
    if len(values) == 2:
        names = ["background", "foreground"][::1 if counts[1] <= 0.75 * counts.sum() else -1]
    else:
        names = [f"class {value}" for value in values]
    return [{"name": name, "value": value} for name, value in zip(names, values)]


def to_indices(mask, classes, path):
    """A mask's own values → class indices, uint8 (H, W). Raises BadInput at a value that no class has."""
    if mask.ndim == 2 and any(isinstance(one["value"], list) for one in classes):
        mask = np.repeat(mask[:, :, None], 3, axis=2)   # only black, grey and white in it, among coloured ones
    indices, known = np.zeros(mask.shape[:2], np.uint8), np.zeros(mask.shape[:2], bool)
    for index, one in enumerate(classes):
        here = mask == one["value"] if mask.ndim == 2 else (mask == one["value"]).all(axis=2)
        indices[here] = index
        known |= here
    if not known.all():
        y, x = np.argwhere(~known)[0]
        raise BadInput(f"{path} holds {mask[y, x].tolist()} at x={x}, y={y}; "
                       f"expected one of {', '.join(str(one['value']) for one in classes)}")
    return indices


def to_values(indices, classes):
    """Class indices (H, W) → the values the masks use: (H, W) or, for colours, (H, W, 3); uint8 where they fit."""
    values = np.array([one["value"] for one in classes])
    return values.astype(np.uint8 if values.max() < 256 else np.uint16)[indices]


def read_pair(image_path, mask_path, classes=None, threshold=None):
    """An image uint8 (H, W, 3), its mask as class indices uint8 (H, W), and the classes: those given, or found.

    Raises BadInput.
    """
    image, mask = read_image(image_path), read_mask(mask_path, threshold)
    if image.shape[:2] != mask.shape[:2]:
        raise BadInput(f"{image_path} is {image.shape[1]}x{image.shape[0]} pixels, but {mask_path} is "
                       f"{mask.shape[1]}x{mask.shape[0]}; expected a mask of the image's size")
    classes = classes or find_classes(mask, mask_path)
    return image, to_indices(mask, classes, mask_path), classes


def hold_out(image, mask, least, gap, share=0.2):
    """Cut a validation strip out of one image: ([(image, mask), …] to train on, [(image, mask)] to validate on).

    The strip takes `share` of the longer side. Of nine places it gets the one that leaves the most classes in
    both parts and, among equals, whose class shares are most like the whole image's. `gap` pixels on either
    side of it are in neither part, so that a network with a halo of at most `gap` is scored on one part without
    seeing a pixel of the other. Training parts narrower than `least` are dropped. An image too short to be cut
    comes back whole, one list for both.
    """
    wide = image.shape[1] > image.shape[0]
    length = max(mask.shape)
    strip = round(share * length)

    def cut(start, stop):
        where = np.s_[:, start:stop] if wide else np.s_[start:stop]
        return image[where], mask[where]

    def class_shares(parts):
        counts = sum(np.bincount(mask.ravel(), minlength=256) for _, mask in parts)
        return counts / counts.sum()

    whole = [(image, mask)]

    def quality(choice):
        training, held_out = map(class_shares, choice)
        return np.count_nonzero(training * held_out), -np.abs(held_out - class_shares(whole)).sum()

    choices = []
    for start in np.linspace(0, length - strip, 9).astype(int).tolist():
        bounds = [(0, start - gap), (start + strip + gap, length)]
        training = [cut(*bound) for bound in bounds if bound[1] - bound[0] >= least]
        if training and strip:
            choices.append((training, [cut(start, start + strip)]))
    return max(choices, key=quality, default=(whole, whole))


# ---------------------------------------------------------------------------------------------------
# Writing


def claim(path, *inputs, endings=None, mark=MARK):
    """Check, before any work, that `path` may be written, and make its folder: returns it as a Path.

    Raises BadInput for a name without one of the `endings`, a file that is there and was not written by us (its
    head lacks `mark`, which other programs seldom copy), one that is also an input, and a folder in which no file
    can be made.
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
            with path.open("rb") as file:
                if mark.encode() not in file.read(4096):
                    raise BadInput(f"{path} exists and was not written by this program; move it, or write elsewhere")
        temporary_name(path).touch()
        temporary_name(path).unlink()
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}); write elsewhere") from error
    return path


def temporary_name(path):
    """Where a file is written until it is whole: in the same folder, so that renaming it is a single step."""
    return path.with_name(f".{path.name}.part")


@contextlib.contextmanager
def write_whole(path):
    """`with write_whole(path) as temporary:` write there; `path` changes only when that went well.

    Raises BadInput where the system refuses: no space, no permission, open in another program (Windows).
    """
    temporary = temporary_name(Path(path))
    try:
        yield temporary
        for attempt in range(20):
            try:
                os.replace(temporary, path)
                break
            except PermissionError:          # on Windows, a virus scanner or a reader has it open for a moment
                if os.name != "nt" or attempt == 19:
                    raise
                time.sleep(0.1)
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror or error}); make room for it, or close the program "
                       "that has it open") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_image(path, array):
    """Save uint8 or uint16 (H, W), or uint8 (H, W, 3), as PNG if the name ends in .png, else as JPEG."""
    if Path(path).suffix.lower() == ".png":
        note = PngImagePlugin.PngInfo()
        note.add_text("Software", MARK)
        options = {"format": "PNG", "pnginfo": note}
    else:                        # full colour resolution, little loss: a 0/255 mask is exact when thresholded at half
        options = {"format": "JPEG", "quality": 95, "subsampling": 0, "comment": MARK}
    with write_whole(path) as temporary:
        Image.fromarray(array).save(temporary, **options)


# ---------------------------------------------------------------------------------------------------
# The bundled sample


def sample():
    """A real photograph and its mask: uint8 (512, 512, 3) and (512, 512) of 0 and 255 (epithelium).

    scikit-image installs the photograph: human colon under the microscope, the glands' epithelium stained
    brown (DAB), all nuclei blue (`skimage.data.immunohistochemistry`). The mask is derived here, the same on
    every machine: the brown stain, separated from the blue (Ruifrok & Johnston, 2001), is smoothed and
    thresholded (Otsu, 1979). A closing covers the blue nuclei inside the glands, but not bare glass, and holes
    and specks below 300 pixels are removed. So a blue nucleus inside a gland counts as gland and one outside
    does not: colour alone cannot tell them apart.
    """
    from skimage import color, data, filters, morphology

    image = data.immunohistochemistry()
    brown = filters.gaussian(color.rgb2hed(image)[:, :, 2], sigma=2)
    bare = filters.gaussian(image.min(axis=2) / 255, sigma=2) > 0.72     # bright in all channels: no stain
    mask = morphology.closing(brown > filters.threshold_otsu(brown), morphology.disk(10)) & ~bare
    mask = morphology.area_closing(morphology.area_opening(mask, 300), 300)
    return image, np.where(mask, 255, 0).astype(np.uint8)


def ensure_sample():
    """Where neither of the two default files is there, write the bundled sample, and say so.

    Raises BadInput where one is there without the other.
    """
    there = [Path(path).exists() for path in SAMPLE]
    if not any(there):
        write_sample()
    elif not all(there):
        present, missing = SAMPLE if there[0] else SAMPLE[::-1]
        raise BadInput(f"{present} is here, but not {missing}; expected both, or neither for the bundled sample")


def write_sample():
    paths = [claim(path) for path in SAMPLE]            # both or neither
    for path, array in zip(paths, sample()):
        write_image(path, array)
    print(f"wrote the bundled sample: {' and '.join(SAMPLE)}, tissue under the microscope")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.error = lambda message: parser.exit(2, f"data.py: {message}\n")
    parser.add_argument("--out", default="patches.png", help="the picture (patches.png)")
    args = parser.parse_args()

    from plots import draw_patches

    try:
        out = claim(args.out, endings=PICTURES)
        write_sample()
        claim(out, *SAMPLE)
        image, mask, _ = read_pair(*SAMPLE)
        draw_patches(image, mask, seed=0, jitter=0.07, path=out)     # as train.py's defaults
    except BadInput as error:
        sys.exit(f"data.py: {error}")
    print(f"{out} shows training patches of it")


if __name__ == "__main__":
    main()
