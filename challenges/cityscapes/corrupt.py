"""Corrupt photographs as weather, night, cameras and compression do, to measure robustness.

    python -m challenges.cityscapes.corrupt IMAGE_DIR OUT_DIR --kind fog --severity 3
    python -m challenges.cityscapes.corrupt IMAGE --sheet corruptions.jpg

The second command draws every kind at every severity.

The corruptions follow Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations" (ICLR 2019). The severities of noise, contrast and JPEG are those of
their code. Their images have 224x224 pixels, while ours have any size. Therefore blur, streaks and
flakes are given in pixels at a height of 360 and scale with the image. Grain and JPEG's blocks do
not scale: their unit is the pixel. Our blurs are weaker, as a street is full of small objects. Our
fog thickens with distance, and our snow has flakes of several sizes. Rain and night are not among
their kinds. So scores are comparable with each other, but not with those on ImageNet-C or
Cityscapes-C (Michaelis et al., 2019). No object moves, so the masks remain valid.

OUT_DIR receives, for each image, a PNG of the same relative name. Its pixels depend only on those
of the image, its name, the kind, the severity and the seed. A higher severity has the same cloud,
and more of the same drops. After an interruption, the same command continues. Images that cannot be
read are named at the end.
"""
import functools
import io
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from support.files import PICTURES, BadInput, begin_folder, check_writable, keep_apart, set_of_files, write_image
from support.images import read_image
from support.machine import in_threads
from support.names import hash_to_unit, images_by_name, name_of, print_left_out
from support.script import Parser, number, run_script

SEVERITIES = range(1, 6)
HEIGHT = 360                     # image height in pixels for the lengths below: CamVid's usual one
LEAST = 0.6                      # pixels: smaller discs and lines would vanish between the pixels of small images
HORIZON = 0.5                    # share of the rows that lie above it, if the camera looks straight ahead
FARTHEST = 4.0                   # the distance of the sky; that of the lowest row is about 0.8
SOFT = 0.2                       # share of road rows over which the horizon blurs: fog has no edge
GAMMA = 2.2                      # light ≈ value ** GAMMA in most files
MOST = 4000                      # positions drawn for particles: at least as many as shown


# ---------------------------------------------------------------------------------------------------
# Building blocks of several kinds


def pixels(length, image):
    """Convert a length at a height of HEIGHT into pixels of this image.

    LEAST is added in quadrature, as the widths of successive blurs add up.
    """
    return float(np.hypot(length * len(image) / HEIGHT, LEAST))


def stroke(length, width, angle=0.0, edge=1.0):
    """Return a line with round ends, or a disc if its length is 0: float32 (K, K), 0 to 1.

    K is odd. The length between the centres of its ends, the width, and the edge over which it
    fades are in pixels. The angle is in degrees, counter-clockwise from the horizontal.
    """
    reach = int((length + width + edge) / 2)
    y, x = np.mgrid[reach:-reach - 1:-1, -reach:reach + 1]
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    beyond = np.maximum(np.abs(x * cos + y * sin) - length / 2, 0)
    distance = np.hypot(beyond, y * cos - x * sin)
    return (((width + edge) / 2 - distance) / edge).clip(0, 1).astype(np.float32)


def convolve(image, kernel):
    """Convolve an image with a kernel (K, K); the image is mirrored at its border.

    The image is float (H, W) or (H, W, C), the result float32 of the same shape. The Fourier
    transform is used, which takes as long for a large kernel as for a small one.
    """
    (height, width), reach = image.shape[:2], len(kernel) // 2
    # The discrete transform is periodic: what leaves on one side enters on the other, but not
    # further than this padding. Lengths with small prime factors are transformed fastest.
    padding = [(reach, reach + -(size + 2 * reach) % 32) for size in (height, width)]
    padded = np.pad(image, padding + [(0, 0)] * (image.ndim - 2), mode="symmetric")
    shape, axes = padded.shape[:2], (0, 1)
    spectrum = np.fft.rfft2(kernel, shape, axes).reshape(shape[0], -1, *[1] * (image.ndim - 2))
    result = np.fft.irfft2(np.fft.rfft2(padded, axes=axes) * spectrum, shape, axes)
    return result[2 * reach:2 * reach + height, 2 * reach:2 * reach + width].astype(np.float32, copy=False)


def blur(image, kernel):
    """Convolve an image with a kernel scaled to the sum 1, which preserves the brightness."""
    return convolve(image, kernel / kernel.sum())


def plasma(height, width, random):
    """Return fractal noise, float32 (H, W), of mean 0 and standard deviation 1.

    All its features are twice as wide as high. Fourier filtering generates it (Saupe, "Algorithms
    for random fractals", in The Science of Fractal Images, 1988): white noise whose amplitudes
    decrease with frequency. This does for any size what the diamond-square algorithm does for
    2^n + 1.
    """
    spectrum = np.fft.rfft2(random.standard_normal((height, width), np.float32))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, 2 * np.fft.rfftfreq(width) * height)
    frequency[0, 0] = np.inf                                 # no mean
    noise = np.fft.irfft2(spectrum * frequency ** -2.0, (height, width))
    return (noise / max(noise.std(), 1e-9)).astype(np.float32)


def distance(height):
    """Return the distance of what each row shows, float32 (H, 1, 1), from below 1 to FARTHEST.

    The distance is a guess, for want of a depth map. It is that of a flat road, proportional to
    1 / (rows below the horizon), bounded. All that is above the horizon is taken for far, although
    houses and trees may be near.
    """
    below = ((np.arange(height) + 0.5) / height - HORIZON) / (1 - HORIZON)
    below = (below + np.hypot(below, SOFT)) / 2              # a smooth max(below, 0)
    return (1 / (below + 1 / FARTHEST)).astype(np.float32)[:, None, None]


def veil(image, transmittance, light):
    """Return an image as seen through air (Koschmieder's law).

    The air has this transmittance and scatters `light` of its own.
    """
    return light + (image - light) * transmittance


def particles(image, layers, count, random):
    """Return the share of each pixel that drops or flakes cover: float32 (H, W, 1), 0 to 1.

    The image is (H, W, 3). A layer (share, opacity, stroke) scatters that share of `count` strokes
    over each square as high as the image. Each stroke covers up to `opacity`. A higher count keeps
    the strokes of a lower one.
    """
    height, width = image.shape[:2]
    cover = np.zeros((height, width), np.float32)
    for share, opacity, kernel in layers:
        drawn, shown = (round(share * one * width / height) for one in (MOST, count))
        row, column, strength = random.random((3, drawn))[:, :shown]
        centres = np.zeros((height, width), np.float32)
        place = (row * height).astype(int), (column * width).astype(int)
        np.maximum.at(centres, place, opacity * (0.3 + 0.7 * strength))
        cover += convolve(centres, kernel)
    return cover.clip(0, 1)[:, :, None]


# ---------------------------------------------------------------------------------------------------
# The kinds: image float32 (H, W, 3), 0 to 1, severity, 1 to 5, generator → image, not yet clipped


HAZE = np.array([0.80, 0.82, 0.84], np.float32)              # the colour of fog by day

FOG = [0.12, 0.20, 0.30, 0.43, 0.60]                         # extinction over a distance of 1


def fog(image, severity, random):
    """Add haze in clouds, which hides distant objects."""
    density = np.exp(0.3 * plasma(*image.shape[:2], random))[:, :, None]
    return veil(image, np.exp(-FOG[severity - 1] * density * distance(len(image))), HAZE)


RAIN = [(200, 0.90, 0.04),       # drops in a square as high as the image, share of the light that is left, extinction
        (450, 0.82, 0.08),       # by the haze of those too far to be seen
        (800, 0.74, 0.12),
        (1300, 0.66, 0.17),
        (2000, 0.58, 0.23)]
DROPS = [(0.70, 0.15, 16, 1.0),  # share of all, opacity, length and width of the streak: from far ones to near ones
         (0.25, 0.25, 34, 1.3),
         (0.05, 0.30, 70, 2.0)]


def rain(image, severity, random):
    """Add bright streaks, a little tilted, and haze, and reduce the light."""
    count, left, extinction = RAIN[severity - 1]
    layers, tilt = [], random.uniform(-12, 12)
    for share, opacity, length, width in DROPS:
        for _ in range(2):                                   # drops differ in length and angle
            length_now, angle = length * random.uniform(0.7, 1.3), 90 + tilt + random.uniform(-3, 3)
            layers.append((share / 2, opacity, stroke(pixels(length_now, image), pixels(width, image), angle)))
    dim = veil(left * image, np.exp(-extinction * distance(len(image))), 0.75 * HAZE)
    return veil(dim, 1 - particles(image, layers, count, random), HAZE)


SNOW = [(300, 0.9, 0.04),        # flakes in a square as high as the image, share of the colours that is left (snow lies
        (700, 0.8, 0.07),        # on everything), extinction by those too far to be seen
        (1400, 0.7, 0.10),
        (2500, 0.6, 0.14),
        (4000, 0.5, 0.18)]
FLAKES = [(0.84, 0.7, 2, 1.5, 1),     # share of all, opacity, motion while the shutter is open,
          (0.13, 0.8, 5, 3.5, 2),     # width, soft edge: from far ones to those so near that
          (0.03, 0.7, 10, 9, 6)]      # they are out of focus


def snow(image, severity, random):
    """Add flakes of three sizes, blurred a little by their fall.

    The colours become pale and the air white.
    """
    count, colour, extinction = SNOW[severity - 1]
    layers, fall = [], random.uniform(45, 135)
    for share, opacity, length, width, edge in FLAKES:
        angle = fall + random.uniform(-15, 15)
        layers.append((share, opacity,
                       stroke(pixels(length, image), pixels(width, image), angle, pixels(edge, image))))
    grey = image.mean(axis=2, keepdims=True)
    pale = veil(grey + colour * (image - grey), np.exp(-extinction * distance(len(image))), 0.9)
    return veil(pale, 1 - particles(image, layers, count, random), 0.97)


NIGHT = [(0.40, 2000, 0.002),    # share of the daylight that is left, photons that white stands for, noise of the
         (0.25, 1200, 0.003),    # read-out as a share of white
         (0.15, 800, 0.004),
         (0.09, 500, 0.005),
         (0.05, 300, 0.006)]
BLUE = np.array([0.75, 0.90, 1.25], np.float32)              # channel gains, as eyes see moonlight
HEADLIGHTS = 0.2                 # of the own car, at a distance of 1, as a share of the daylight


def night(image, severity, random):
    """Reduce the light, make it bluish, and add the glow of lamps and the noise of few photons.

    More light remains in front of the car. Lamps shine on. A lamp is what is bright, small, and in
    a dark place, perhaps a white stripe. What is bright and large is the sky or a wall, and does
    not shine.
    """
    from skimage.morphology import white_tophat  # only here, as its import is slow

    left, photons, readout = NIGHT[severity - 1]
    light, brightness = image ** GAMMA, image.max(axis=2)
    side = round(pixels(9, image))
    small = white_tophat(brightness, [(np.ones((side, 1)), 1), (np.ones((1, side)), 1)])      # a square, by rows first
    around = blur(brightness, stroke(0, pixels(60, image)))
    lamp = ((brightness - 0.7) / 0.2).clip(0, 1) * ((small - 0.2) / 0.2).clip(0, 1) * ((0.5 - around) / 0.2).clip(0, 1)
    shining = light * lamp[:, :, None]
    glow = 0.5 * blur(shining, stroke(0, 1, edge=pixels(24, image)))
    seen = np.maximum(light * (left * BLUE + HEADLIGHTS / distance(len(image)) ** 2), shining) + glow
    # Poisson noise and read-out noise as one normal distribution with the sum of their variances:
    # Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for single-image
    # raw-data", IEEE TIP 2008.
    seen += np.sqrt(seen / photons + readout ** 2) * random.standard_normal(image.shape, np.float32)
    return seen.clip(0) ** (1 / GAMMA)


GAUSSIAN_NOISE = [0.08, 0.12, 0.18, 0.26, 0.38]              # standard deviation


def gaussian_noise(image, severity, random):
    """Add the noise of electronics, which is the same everywhere."""
    return image + GAUSSIAN_NOISE[severity - 1] * random.standard_normal(image.shape, np.float32)


SHOT_NOISE = [60, 25, 12, 5, 3]                              # photons that white stands for


def shot_noise(image, severity, random):
    """Add the noise of photon counting: Poisson noise, with variance proportional to brightness."""
    photons = SHOT_NOISE[severity - 1]
    return random.poisson(image * photons).astype(np.float32) / photons


DEFOCUS_BLUR = [1.5, 2.5, 4, 6, 8]                           # radius


def defocus_blur(image, severity, random):
    """Turn each point into a disc, as when the lens is out of focus."""
    return blur(image, stroke(0, 2 * pixels(DEFOCUS_BLUR[severity - 1], image)))


MOTION_BLUR = [6, 10, 15, 22, 32]                            # length


def motion_blur(image, severity, random):
    """Turn each point into a line at a random angle, as when the camera shakes."""
    return blur(image, stroke(pixels(MOTION_BLUR[severity - 1], image), 1, random.uniform(0, 180)))


CONTRAST = [0.4, 0.3, 0.2, 0.1, 0.05]                        # share that is left


def contrast(image, severity, random):
    """Move each channel towards its mean."""
    mean = image.mean(axis=(0, 1), dtype=float).astype(np.float32)       # float32 cannot sum up millions of them
    return mean + CONTRAST[severity - 1] * (image - mean)


JPEG = [25, 18, 15, 10, 7]                                   # quality, as libjpeg and Pillow count it


def jpeg(image, severity, random):
    """Write the image as JPEG and read it again."""
    file = io.BytesIO()
    Image.fromarray(to_bytes(image)).save(file, "JPEG", quality=JPEG[severity - 1])
    return np.asarray(Image.open(file), np.float32) / 255


KINDS = {kind.__name__: kind for kind in (fog, rain, snow, night, gaussian_noise, shot_noise, defocus_blur, motion_blur,
                                          contrast, jpeg)}


def to_bytes(image):
    """Convert floats from 0 to 1 to uint8, and clip values outside of that range."""
    return np.rint(image.clip(0, 1) * 255).astype(np.uint8)


def corrupt(image, kind, severity, seed=0):
    """Return an image uint8 (H, W, 3) corrupted, in the same shape and dtype.

    The seed may be a text. All severities share its random numbers. Raises ValueError for an
    unknown kind or severity.
    """
    if kind not in KINDS or severity not in SEVERITIES:
        raise ValueError(f"{kind} {severity} is no corruption; expected one of {', '.join(KINDS)}, 1 to 5")
    key = int(hash_to_unit(f"{seed} {kind}") * 2**32)                 # a key for each possible hash
    random = np.random.default_rng(key)
    return to_bytes(KINDS[kind](image / np.float32(255), severity, random))


# ---------------------------------------------------------------------------------------------------
# Files


def parse_arguments(argv=None):
    parser = Parser(__file__, __doc__)
    add = parser.add_argument
    add("source", metavar="IMAGE_DIR", help="a folder of images, sub-folders too; with --sheet, one image")
    add("out", nargs="?", metavar="OUT_DIR", help="a new folder, or one to go on with; not inside IMAGE_DIR")
    add("--kind", choices=KINDS, metavar="KIND", help="of corruption: " + ", ".join(KINDS))
    add("--severity", type=number(int, SEVERITIES[0], SEVERITIES[-1]), metavar="S", help="1 to 5; 5 is the worst")
    add("--sheet", metavar="FILE", help="instead, a picture of one image in every kind at every severity")
    add("--seed", type=number(int, 0, 2**32 - 1), default=0, metavar="N", help="(0) another seed, other noise")
    args = parser.parse_args(argv)
    if args.sheet and (args.out or args.kind or args.severity):
        parser.error("--sheet shows every kind at every severity; expected no OUT_DIR, --kind or --severity beside it")
    if not args.sheet and not (args.out and args.kind and args.severity):
        parser.error("expected IMAGE_DIR OUT_DIR --kind KIND --severity S, or IMAGE --sheet FILE")
    return args


def make(out, kind, severity, seed, named):
    """Write the corrupted image of one (name, path), unless it exists.

    Returns a text that says what is wrong with the image, or None.
    """
    name, path = named
    target = out / f"{name}.png"
    if target.exists():
        return None
    try:
        image = read_image(path)
    except BadInput as error:
        return str(error)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_image(target, corrupt(image, kind, severity, f"{seed} {name}"))
    return None


def corrupt_folder(args):
    """Write all images that --kind, --severity and --seed ask for.

    Raises BadInput, also where no image can be read.
    """
    source, out = Path(args.source), Path(args.out)
    keep_apart(out, source)
    images = images_by_name(source)
    made_of = {"kind": args.kind, "severity": args.severity, "seed": args.seed,
               "set of images": set_of_files(list(images.values()))}
    one = functools.partial(make, out, args.kind, args.severity, args.seed)
    with begin_folder(out, made_of):
        found = list(tqdm(in_threads(one, images.items()), total=len(images), unit="image", disable=None))
        problems = [("images that cannot be read", problem) for problem in found if problem]
        if len(problems) == len(images):
            raise BadInput(f"none of the {len(images)} images in {source} can be read: {problems[0][1]}")
    print(f"{out}: {len(images) - len(problems)} images, {args.kind} of severity {args.severity}")
    print_left_out(problems)


def draw_sheet(image, path, seed):
    """Draw an image uint8 (H, W, 3) in every kind, a row each, at every severity.

    The picture is 900 pixels wide.
    """
    from matplotlib.figure import Figure  # only here, as its import is slow

    from support.plots import save

    def panel(cell):
        kind, severity = cell
        shown = corrupt(image, kind, severity, seed) if severity else image
        # All panels are held in memory, so each is reduced.
        return Image.fromarray(shown).reduce(max(1, max(shown.shape) // 300))

    columns = {0: "clean", **{severity: str(severity) for severity in SEVERITIES}}
    cells = [(kind, severity) for kind in KINDS for severity in columns]
    panels = tqdm(in_threads(panel, cells), total=len(cells), unit="panel", disable=None)
    height = 1.36 * min(2, image.shape[0] / image.shape[1])
    figure = Figure(figsize=(9, 0.25 + len(KINDS) * (height + 0.04)), dpi=100, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.01, wspace=0, hspace=0)
    for axes, (kind, severity), picture in zip(figure.subplots(len(KINDS), len(columns)).flat, cells, panels):
        axes.imshow(picture)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        if kind == next(iter(KINDS)):
            axes.set_title(columns[severity], fontsize=11)
        if not severity:
            axes.set_ylabel(kind.replace("_", "\n"), fontsize=11, rotation=0, ha="right", va="center")
    save(figure, path)


def main(args):
    """Corrupt a folder, or draw the sheet of all kinds."""
    if not args.sheet:
        return corrupt_folder(args)
    source, sheet = Path(args.source), check_writable(args.sheet, args.source, endings=PICTURES)
    draw_sheet(read_image(source), sheet, f"{args.seed} {name_of(source, source.parent)}")
    print(f"{sheet} shows every kind at every severity")


if __name__ == "__main__":
    run_script(main, parse_arguments(), __file__, interrupted="interrupted; the same command goes on from here")
