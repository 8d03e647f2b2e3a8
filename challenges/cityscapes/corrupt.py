"""Corrupt photographs as weather, night, cameras and compression do, to measure what a network loses by it.

    python -m challenges.cityscapes.corrupt IMAGE_DIR OUT_DIR --kind fog --severity 3
    python -m challenges.cityscapes.corrupt IMAGE --sheet corruptions.jpg      every kind at every severity, to look at

After Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations" (ICLR
2019). The severities of noise, contrast and JPEG are those of their code. But their images have 224x224 pixels, ours
any size: blur, streaks and flakes are given in pixels at a height of 360 and grow with the image; grain and JPEG's
blocks do not, a pixel is a pixel to them. Our blurs are weaker, as a street is full of small things; our fog thickens
with distance, our snow has flakes of several sizes; rain and night they do not have. So scores compare with each other,
not with those on ImageNet-C or Cityscapes-C (Michaelis et al., 2019). Nothing moves: the masks stay valid.

OUT_DIR gets, for each image, a PNG of the same relative name. Its pixels depend on those of the image, its name, kind,
severity and seed, nothing else; a higher severity has the same cloud, and more of the same drops. Interrupted, the same
command goes on. What cannot be read is named at the end.
"""
import functools
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from support.arguments import Parser, number, run_script
from support.files import PICTURES, BadInput, begin_folder, check_writable, keep_apart, set_of_files, write_image
from support.images import hash_to_unit, images_by_name, in_threads, name_of, print_left_out, read_image

SEVERITIES = range(1, 6)
HEIGHT = 360                     # of the images in which the lengths below are pixels: CamVid's, as it is used most
LEAST = 0.6                      # pixels: smaller discs and lines would vanish between the pixels of small images
HORIZON = 0.5                    # share of the rows that lie above it, if the camera looks straight ahead
FARTHEST = 4.0                   # the distance of the sky; that of the lowest row is about 0.8
SOFT = 0.2                       # share of the road's rows over which the horizon is smeared: no edge runs through fog
GAMMA = 2.2                      # light = value ** GAMMA, nearly, in most files
MOST = 4000                      # particles whose places are drawn: not less than any severity shows


# ---------------------------------------------------------------------------------------------------
# What several kinds are made of


def pixels(length, image):
    """A length at a height of HEIGHT → pixels of this image. To it LEAST is added, as blurs add up: in squares."""
    return float(np.hypot(length * len(image) / HEIGHT, LEAST))


def stroke(length, width, angle=0.0, edge=1.0):
    """A line with round ends, or a disc where its length is 0: float32 (K, K), 0 to 1, K odd.

    The length between the centres of its ends, the width, and the edge over which it fades are pixels; the angle is in
    degrees, counter-clockwise from the horizontal.
    """
    reach = int((length + width + edge) / 2)
    y, x = np.mgrid[reach:-reach - 1:-1, -reach:reach + 1]
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    beyond = np.maximum(np.abs(x * cos + y * sin) - length / 2, 0)
    distance = np.hypot(beyond, y * cos - x * sin)
    return (((width + edge) / 2 - distance) / edge).clip(0, 1).astype(np.float32)


def convolve(image, kernel):
    """An image float (H, W) or (H, W, C), mirrored at its border, convolved with a kernel (K, K): float32, its shape.

    By the Fourier transform: that takes as long for a large kernel as for a small one.
    """
    (height, width), reach = image.shape[:2], len(kernel) // 2
    # The transform goes round, what leaves on one side comes in on the other; but not further than this padding.
    # Lengths of small factors are transformed fastest.
    padding = [(reach, reach + -(size + 2 * reach) % 32) for size in (height, width)]
    padded = np.pad(image, padding + [(0, 0)] * (image.ndim - 2), mode="symmetric")
    shape, axes = padded.shape[:2], (0, 1)
    spectrum = np.fft.rfft2(kernel, shape, axes).reshape(shape[0], -1, *[1] * (image.ndim - 2))
    result = np.fft.irfft2(np.fft.rfft2(padded, axes=axes) * spectrum, shape, axes)
    return result[2 * reach:2 * reach + height, 2 * reach:2 * reach + width].astype(np.float32, copy=False)


def blur(image, kernel):
    """An image convolved with a kernel that is first scaled to the sum 1, so that the brightness stays."""
    return convolve(image, kernel / kernel.sum())


def plasma(height, width, random):
    """Fractal noise, float32 (H, W), of mean 0 and standard deviation 1, twice as wide as high in all its features.

    Fourier filtering (Saupe, "Algorithms for random fractals", in The Science of Fractal Images, 1988), which does for
    any size what the diamond-square algorithm does for 2^n + 1: white noise whose amplitudes fall by frequency.
    """
    spectrum = np.fft.rfft2(random.standard_normal((height, width), np.float32))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, 2 * np.fft.rfftfreq(width) * height)
    frequency[0, 0] = np.inf                                 # no mean
    noise = np.fft.irfft2(spectrum * frequency ** -2.0, (height, width))
    return (noise / max(noise.std(), 1e-9)).astype(np.float32)


def distance(height):
    """How far away what each row shows is, float32 (H, 1, 1), from below 1 to FARTHEST: a guess, for want of depth.

    The distance of a flat road, which goes as 1 / (rows below the horizon), bounded. All that is above the horizon is
    taken for far; of houses and trees it may be near.
    """
    below = ((np.arange(height) + 0.5) / height - HORIZON) / (1 - HORIZON)
    below = (below + np.hypot(below, SOFT)) / 2              # a smooth max(below, 0)
    return (1 / (below + 1 / FARTHEST)).astype(np.float32)[:, None, None]


def veil(image, transmittance, light):
    """What is seen through air that lets this share through and scatters `light` of its own (Koschmieder's law)."""
    return light + (image - light) * transmittance


def particles(image, layers, count, random):
    """How much drops or flakes cover of each pixel of an image (H, W, 3): float32 (H, W, 1), 0 to 1.

    A layer (share, opacity, stroke) strews that share of `count` strokes over each square as high as the image; each
    covers up to `opacity`. A higher count keeps those of a lower one.
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
# The kinds: an image float32 (H, W, 3), 0 to 1, its severity, 1 to 5, and a generator → the same, not yet clipped


HAZE = np.array([0.80, 0.82, 0.84], np.float32)              # the colour of fog by day

FOG = [0.12, 0.20, 0.30, 0.43, 0.60]                         # extinction by a distance of 1


def fog(image, severity, random):
    """Haze in clouds, which hides what is far."""
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
    """Bright streaks, a little tilted; less light; haze."""
    count, left, extinction = RAIN[severity - 1]
    layers, tilt = [], random.uniform(-12, 12)
    for share, opacity, length, width in DROPS:
        for _ in range(2):                                   # no two drops fall quite alike
            length_now, angle = length * random.uniform(0.7, 1.3), 90 + tilt + random.uniform(-3, 3)
            layers.append((share / 2, opacity, stroke(pixels(length_now, image), pixels(width, image), angle)))
    dim = veil(left * image, np.exp(-extinction * distance(len(image))), 0.75 * HAZE)
    return veil(dim, 1 - particles(image, layers, count, random), HAZE)


SNOW = [(300, 0.9, 0.04),        # flakes in a square as high as the image, share of the colours that is left (snow lies
        (700, 0.8, 0.07),        # on everything), extinction by those too far to be seen
        (1400, 0.7, 0.10),
        (2500, 0.6, 0.14),
        (4000, 0.5, 0.18)]
FLAKES = [(0.84, 0.7, 2, 1.5, 1),     # share of all, opacity, way while the shutter is open, width, soft edge: from far
          (0.13, 0.8, 5, 3.5, 2),     # ones to those so near that they are out of focus
          (0.03, 0.7, 10, 9, 6)]


def snow(image, severity, random):
    """Flakes of three sizes, blurred a little as they fall; pale colours and white air."""
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
BLUE = np.array([0.75, 0.90, 1.25], np.float32)              # what is left, by channel: as eyes see moonlight
HEADLIGHTS = 0.2                 # of the own car, at a distance of 1, as a share of the daylight


def night(image, severity, random):
    """Little light, bluish, more in front of the car; lamps shine on, with a glow; the noise of few photons.

    A lamp is what is bright, small, and in a dark place, a white stripe perhaps; what is bright and large is the sky,
    or a wall, and does not shine.
    """
    from skimage.morphology import white_tophat  # only now: it takes its time

    left, photons, readout = NIGHT[severity - 1]
    light, brightness = image ** GAMMA, image.max(axis=2)
    side = round(pixels(9, image))
    small = white_tophat(brightness, [(np.ones((side, 1)), 1), (np.ones((1, side)), 1)])      # a square, by rows first
    around = blur(brightness, stroke(0, pixels(60, image)))
    lamp = ((brightness - 0.7) / 0.2).clip(0, 1) * ((small - 0.2) / 0.2).clip(0, 1) * ((0.5 - around) / 0.2).clip(0, 1)
    shining = light * lamp[:, :, None]
    glow = 0.5 * blur(shining, stroke(0, 1, edge=pixels(24, image)))
    seen = np.maximum(light * (left * BLUE + HEADLIGHTS / distance(len(image)) ** 2), shining) + glow
    # Poisson's noise and that of the read-out, as one normal distribution with the sum of their variances: Foi et al.,
    # "Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data", IEEE TIP 2008.
    seen += np.sqrt(seen / photons + readout ** 2) * random.standard_normal(image.shape, np.float32)
    return seen.clip(0) ** (1 / GAMMA)


GAUSSIAN_NOISE = [0.08, 0.12, 0.18, 0.26, 0.38]              # standard deviation


def gaussian_noise(image, severity, random):
    """The noise of electronics: the same everywhere."""
    return image + GAUSSIAN_NOISE[severity - 1] * random.standard_normal(image.shape, np.float32)


SHOT_NOISE = [60, 25, 12, 5, 3]                              # photons that white stands for


def shot_noise(image, severity, random):
    """The noise of counting photons: Poisson's, of a variance in proportion to the brightness."""
    photons = SHOT_NOISE[severity - 1]
    return random.poisson(image * photons).astype(np.float32) / photons


DEFOCUS_BLUR = [1.5, 2.5, 4, 6, 8]                           # radius


def defocus_blur(image, severity, random):
    """A point becomes a disc."""
    return blur(image, stroke(0, 2 * pixels(DEFOCUS_BLUR[severity - 1], image)))


MOTION_BLUR = [6, 10, 15, 22, 32]                            # length


def motion_blur(image, severity, random):
    """A point becomes a line, at a random angle: the camera shakes."""
    return blur(image, stroke(pixels(MOTION_BLUR[severity - 1], image), 1, random.uniform(0, 180)))


CONTRAST = [0.4, 0.3, 0.2, 0.1, 0.05]                        # share that is left


def contrast(image, severity, random):
    """Each channel moves towards its mean."""
    mean = image.mean(axis=(0, 1), dtype=float).astype(np.float32)       # float32 cannot sum up millions of them
    return mean + CONTRAST[severity - 1] * (image - mean)


JPEG = [25, 18, 15, 10, 7]                                   # quality, as libjpeg and Pillow count it


def jpeg(image, severity, random):
    """Written as JPEG and read again."""
    file = io.BytesIO()
    Image.fromarray(to_bytes(image)).save(file, "JPEG", quality=JPEG[severity - 1])
    return np.asarray(Image.open(file), np.float32) / 255


KINDS = {kind.__name__: kind for kind in (fog, rain, snow, night, gaussian_noise, shot_noise, defocus_blur, motion_blur,
                                          contrast, jpeg)}


def to_bytes(image):
    """Floats from 0 to 1 → uint8; what lies outside is clipped."""
    return np.rint(image.clip(0, 1) * 255).astype(np.uint8)


def corrupt(image, kind, severity, seed=0):
    """An image uint8 (H, W, 3), corrupted: the same. The seed may be a text; severities share its random numbers."""
    if kind not in KINDS or severity not in SEVERITIES:
        raise ValueError(f"{kind} {severity} is no corruption; expected one of {', '.join(KINDS)}, 1 to 5")
    key = int(hash_to_unit(f"{seed} {kind}") * 2**32)                 # as many keys as there are such hashes
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
    add("--workers", type=number(int, 1, 64), default=os.cpu_count() or 1, metavar="K",
        help="threads; the files are the same (one for each core)")
    args = parser.parse_args(argv)
    if args.sheet and (args.out or args.kind or args.severity):
        parser.error("--sheet shows every kind at every severity; expected no OUT_DIR, --kind or --severity beside it")
    if not args.sheet and not (args.out and args.kind and args.severity):
        parser.error("expected IMAGE_DIR OUT_DIR --kind KIND --severity S, or IMAGE --sheet FILE")
    return args


def make(out, kind, severity, seed, named):
    """Write the corrupted image of one (name, path), unless it is there: what is wrong with it, a text, or None."""
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
    """Write all images that --kind, --severity and --seed ask for. Raises BadInput, too where none can be read."""
    source, out = Path(args.source), Path(args.out)
    keep_apart(out, source)
    images = images_by_name(source)
    begin_folder(out, {"kind": args.kind, "severity": args.severity, "seed": args.seed,
                       "set of images": set_of_files(list(images.values()))})
    one = functools.partial(make, out, args.kind, args.severity, args.seed)
    problems = [("images that cannot be read", problem) for problem in
                tqdm(in_threads(one, images.items(), args.workers), total=len(images), unit="image", disable=None)
                if problem]
    if len(problems) == len(images):
        raise BadInput(f"none of the {len(images)} images in {source} can be read: {problems[0][1]}")
    print(f"{out}: {len(images) - len(problems)} images, {args.kind} of severity {args.severity}")
    print_left_out(problems)


def draw_sheet(image, path, seed=0, workers=None):
    """A picture, 900 pixels wide, of an image uint8 (H, W, 3) in every kind, a row each, at every severity."""
    from matplotlib.figure import Figure  # only now: it takes its time

    from support.plots import save

    def panel(cell):
        kind, severity = cell
        shown = corrupt(image, kind, severity, seed) if severity else image
        return Image.fromarray(shown).reduce(max(1, max(shown.shape) // 300))        # all are held

    columns = {0: "clean", **{severity: str(severity) for severity in SEVERITIES}}
    cells = [(kind, severity) for kind in KINDS for severity in columns]
    panels = tqdm(in_threads(panel, cells, workers), total=len(cells), unit="panel", disable=None)
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
    """Damage a folder, or draw the sheet of all kinds."""
    if not args.sheet:
        return corrupt_folder(args)
    source, sheet = Path(args.source), check_writable(args.sheet, args.source, endings=PICTURES)
    draw_sheet(read_image(source), sheet, f"{args.seed} {name_of(source, source.parent)}", args.workers)
    print(f"{sheet} shows every kind at every severity")


if __name__ == "__main__":
    run_script(main, parse_arguments(), __file__, interrupted="interrupted; the same command goes on from here")
