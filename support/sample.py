"""The bundled sample: a real photograph and its mask, so that everything runs out of the box."""
import os

import numpy as np

from support.files import BadInput, check_writable, write_image

SAMPLE = ("rgb.png", "gt.png")   # what train.py and predict.py read when nothing else is asked for
BLACK_AND_WHITE = [{"name": "background", "value": 0}, {"name": "foreground", "value": 255}]     # its classes


def sample() -> tuple[np.ndarray, np.ndarray]:
    """Return a real photograph and its mask: uint8 (512, 512, 3) and (512, 512) of 0 and 255 (epithelium).

    scikit-image installs the photograph: human colon under the microscope, the glands' epithelium stained
    brown (DAB), all nuclei blue (`skimage.data.immunohistochemistry`). The mask is derived here, the same on
    every machine: the brown stain, separated from the blue (Ruifrok & Johnston, 2001), is smoothed and
    thresholded (Otsu, 1979). A closing covers the blue nuclei inside the glands, but not bare glass, and holes
    and specks below 300 pixels are removed. So a blue nucleus inside a gland counts as gland and one outside
    does not: colour alone cannot tell them apart.
    """
    from skimage import color, filters, morphology

    image = photograph()
    brown = filters.gaussian(color.rgb2hed(image)[:, :, 2], sigma=2)
    bare = filters.gaussian(image.min(axis=2) / 255, sigma=2) > 0.72     # bright in all channels: no stain
    mask = morphology.isotropic_closing(brown > filters.threshold_otsu(brown), 10) & ~bare
    mask = ~without_specks(~without_specks(mask))
    return image, np.where(mask, 255, 0).astype(np.uint8)


def photograph() -> np.ndarray:
    """Return the photograph alone, uint8 (512, 512, 3): that takes no time."""
    from skimage import data

    return data.immunohistochemistry()


def without_specks(mask: np.ndarray) -> np.ndarray:
    """Return a mask (H, W) without its regions below 300 pixels."""
    from scipy import ndimage

    regions, _ = ndimage.label(mask)
    return mask & (np.bincount(regions.ravel()) >= 300)[regions]


def ensure_sample() -> None:
    """Where neither of the two default files is there, write the bundled sample, and say so.

    Raises BadInput where one is there without the other.
    """
    there = [os.path.lexists(path) for path in SAMPLE]           # a link to a disk that is not there is the user's, too
    if not any(there):
        write_sample()
    elif not all(there):
        present, missing = SAMPLE if there[0] else SAMPLE[::-1]
        raise BadInput(f"{present} is here, but not {missing}; expected both, or neither for the bundled sample")


def write_sample() -> None:
    """Write the bundled sample to the current folder, both files or neither."""
    paths = [check_writable(path) for path in SAMPLE]            # both or neither
    for path, array in zip(paths, sample()):
        write_image(path, array)
    print(f"wrote the bundled sample: {' and '.join(SAMPLE)}, tissue under the microscope")
