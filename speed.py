"""How long a network takes for each of these images, and how much memory: one network, in a process of its own.

    python speed.py model.pt IMAGE_DIR
    python speed.py model.onnx IMAGE_DIR --only DIR/test.txt

Milliseconds from decoded pixels to class indices, after the first image was done once as a warm-up; the most memory
that the whole process held, which for an .onnx file has no PyTorch in it. export.py --benchmark runs this for each kind
of network.
"""
from arguments import Parser, number


def parse_arguments(argv=None):
    parser = Parser(__file__, __doc__)
    add = parser.add_argument
    add("network", metavar="NETWORK", help="a .pt file of train.py, or an .onnx file of export.py")
    add("images", metavar="IMAGE_DIR", help="a directory of images")
    add("--only", metavar="FILE", help="the images it names, without extension, one a line, as in test.txt (all)")
    add("--bf16", action="store_true", help="multiply in bfloat16, of a .pt file (off)")
    add("--threads", type=number(int, 1, 1024), metavar="N", help="(one for each core)")
    add("--halo", type=number(int, 0, 127), metavar="PIXELS",
        help="what windows see around what they keep (all the network can; less is faster, not exact)")
    add("--json", metavar="FILE", help="also write the figures, for programs to read")
    add("--indices", metavar="DIR", help="also write the class indices of each image, as NAME.png, into a new folder")
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_arguments()     # before the imports below, which take a second: --help and typos answer at once

import contextlib
import json
import statistics
import sys
import time
from pathlib import Path

from data import named_images, read_image
from files import MARK, BadInput, claim, write_image, write_text
from processes import cores


def open_network(path, halo, bf16, threads):
    """(function image → class indices, context to call it in) of a .pt or .onnx file. Raises BadInput."""
    if Path(path).suffix.lower() == ".onnx":
        from exported import load_exported, segmenter

        if bf16:
            raise BadInput(f"{path}: --bf16 is for PyTorch's networks; expected a .pt file")
        network, facts = load_exported(path, threads)
        return segmenter(network, facts, halo), contextlib.nullcontext()
    import torch

    from checkpoint import load_checkpoint
    from predict import segmenter

    torch.set_num_threads(threads)
    network, facts = load_checkpoint(path)
    return segmenter(network, facts, "cpu", halo), torch.autocast("cpu", torch.bfloat16, enabled=bf16)


def peak_memory():
    """Bytes that this process has held at most, or None where the system does not tell (Windows)."""
    with contextlib.suppress(OSError, IndexError):       # Linux; what getrusage tells there may be the parent's
        return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    with contextlib.suppress(ImportError):
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return None


def measure(args):
    """Do what `args` ask for (see parse_arguments)."""
    report = claim(args.json, args.network, endings=[".json"]) if args.json else None
    if args.indices and Path(args.indices).exists():
        raise BadInput(f"{args.indices} is there already; expected the name of a new folder")
    threads = args.threads or cores()
    segment, multiplying = open_network(args.network, args.halo, args.bf16, threads)
    paths, seconds = named_images(args.images, args.only), []
    with multiplying:
        segment(read_image(next(iter(paths.values()))))
        for name, path in paths.items():
            image = read_image(path)
            began = time.perf_counter()
            indices = segment(image)
            seconds.append(time.perf_counter() - began)
            if args.indices:
                write_image(claim(Path(args.indices) / f"{name}.png"), indices)
    peak, size = peak_memory(), Path(args.network).stat().st_size
    milliseconds = [1000 * second for second in seconds]
    print(f"{args.network}: {statistics.median(milliseconds):.1f} ms an image (median of {len(milliseconds)}, from "
          f"{min(milliseconds):.1f} to {max(milliseconds):.1f}) with {threads} threads, "
          f"{f'{peak / 1e6:.0f} MB of memory' if peak else 'memory n/a'}, file {size / 1e6:.2f} MB")
    if report:
        write_text(report, json.dumps({"written by": MARK, "seconds": seconds, "threads": threads, "peak_bytes": peak,
                                       "file_bytes": size}))


def main(args):
    try:
        measure(args)
    except BadInput as error:
        sys.exit(f"speed.py: {error}")
    except KeyboardInterrupt:
        sys.exit("speed.py: interrupted")


if __name__ == "__main__":
    main(ARGS)
