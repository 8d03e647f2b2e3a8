"""Files and arrays: images, masks and their classes, the validation strip.

    python data.py                writes the sample, rgb.png and gt.png, and augmented patches, patches.png
"""
import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from files import PICTURES, BadInput, claim

MAX_LENGTH = 65_500              # pixels a side: the most that a JPEG can hold
MAX_VALUES = 16                  # distinct values in a mask; what holds more is not a mask but a picture of one


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
    return to_rgb(open_image(path), path, ground)


def to_rgb(image, path, ground):
    """What read_image promises, for an image that open_image has decoded."""
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
        mask = to_rgb(image, path, ground="black")
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
    shares = class_shares(whole)

    def quality(choice):
        training, held_out = map(class_shares, choice)
        return np.count_nonzero(training * held_out), -np.abs(held_out - shares).sum()

    choices = []
    for start in np.linspace(0, length - strip, 9).astype(int).tolist():
        bounds = [(0, start - gap), (start + strip + gap, length)]
        training = [cut(*bound) for bound in bounds if bound[1] - bound[0] >= least]
        if training and strip:
            choices.append((training, [cut(start, start + strip)]))
    return max(choices, key=quality, default=(whole, whole))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.error = lambda message: parser.exit(2, f"data.py: {message}\n")
    parser.add_argument("--out", default="patches.png", help="the picture (patches.png)")
    args = parser.parse_args()

    from plots import draw_patches
    from sample import SAMPLE, write_sample

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
