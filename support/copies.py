"""Changed copies of an image, as the next picture of its kind may be: a strip held out of the same one is easier."""
import numpy as np
from PIL import Image, ImageFilter

MOST = 512                       # pixels a side: of larger images, the middle is copied

LIGHTS = {                       # float (H, W, 3) → values, which are rounded and cut off
    "darker": lambda image: image * 0.75,
    "flatter": lambda image: image * 0.7 + 38,
    "warmer": lambda image: image * np.array([1.12, 1.0, 0.88]),
    "noisy": lambda image: image + np.random.default_rng(0).normal(0, 8, image.shape),
}
SIZES = {"smaller": 0.8, "larger": 1.25}


def changed_copies(image: np.ndarray, indices: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return {how it is changed: (image, class indices)} of an image uint8 (H, W, 3) and its indices uint8 (H, W)."""
    top, left = (max(0, (side - MOST) // 2) for side in indices.shape)
    image, indices = (array[top:top + MOST, left:left + MOST] for array in (image, indices))
    copies = {name: (np.rint(change(image.astype(float))).clip(0, 255).astype(np.uint8), indices)
              for name, change in LIGHTS.items()}
    picture, mask = Image.fromarray(image), Image.fromarray(indices)
    copies["blurred"] = np.asarray(picture.filter(ImageFilter.GaussianBlur(1))), indices
    for name, scale in SIZES.items():
        size = [max(1, round(scale * side)) for side in picture.size]
        copies[name] = (np.asarray(picture.resize(size, Image.Resampling.BILINEAR)),
                        np.asarray(mask.resize(size, Image.Resampling.NEAREST)))
    return copies
