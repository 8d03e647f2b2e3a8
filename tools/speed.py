"""How long a network takes for each of these images, and how much memory: one network, in a process of its own.

    python -m tools.speed model.pt IMAGE_DIR
    python -m tools.speed model.onnx IMAGE_DIR --only DIR/test.txt

Milliseconds from decoded pixels to class indices, after the first image was done once as a warm-up; the most memory
that the whole process held, which for an .onnx file has no PyTorch in it. tools.export --benchmark runs this for each
kind of network.
"""
from support.script import run_script
from tools.arguments import speed_arguments

if __name__ == "__main__":
    ARGS = speed_arguments(description=__doc__)     # before the imports that take seconds

import contextlib
import statistics
import sys
import time
from pathlib import Path

from segmenter import Segmenter
from support.files import BadInput, check_writable, keep_apart, write_image, write_json
from support.machine import cores
from support.names import named_images


def open_segmenter(path, halo, amp, threads):
    """Return the Segmenter of a .pt or .onnx file. Raises BadInput."""
    if Path(path).suffix.lower() != ".onnx":
        import torch

        torch.set_num_threads(threads)
    return Segmenter.load(path, "cpu", halo, amp=amp, threads=threads)


def peak_memory():
    """Return the bytes that this process has held at most, or None where the system does not tell (Windows)."""
    with contextlib.suppress(OSError, IndexError):       # Linux; what getrusage tells there may be the parent's
        return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    with contextlib.suppress(ImportError):
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return None


def measure(args):
    """Time the network that `args` name on the images, and print and write the figures."""
    report = check_writable(args.json, args.network, endings=[".json"]) if args.json else None
    if args.indices and Path(args.indices).exists():
        raise BadInput(f"{args.indices} is there already; expected the name of a new folder")
    if args.indices:
        keep_apart(args.indices, args.images)
    threads = args.threads or cores()
    segment = open_segmenter(args.network, args.halo, args.amp, threads)
    paths, seconds = named_images(args.images, args.only), []
    segment(segment.read(next(iter(paths.values()))))
    for name, path in paths.items():
        image = segment.read(path)
        began = time.perf_counter()
        indices = segment(image)
        seconds.append(time.perf_counter() - began)
        if args.indices:
            write_image(check_writable(Path(args.indices) / f"{name}.png"), indices)
    peak, size = peak_memory(), Path(args.network).stat().st_size
    milliseconds = [1000 * second for second in seconds]
    print(f"{args.network}: {statistics.median(milliseconds):.1f} ms an image (median of {len(milliseconds)}, from "
          f"{min(milliseconds):.1f} to {max(milliseconds):.1f}) with {threads} threads, "
          f"{f'{peak / 1e6:.0f} MB of memory' if peak else 'memory n/a'}, file {size / 1e6:.2f} MB")
    if report:
        write_json(report, {"seconds": seconds, "threads": threads, "peak_bytes": peak, "file_bytes": size})


if __name__ == "__main__":
    run_script(measure, ARGS, "tools.speed")
