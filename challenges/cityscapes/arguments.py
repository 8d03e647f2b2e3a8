"""The command line of benchmark.py. Nothing but the standard library is imported."""
from support.script import Parser, number


def benchmark_arguments(argv=None, description=None):
    """Parse the command line of benchmark.py and return its arguments."""
    parser = Parser("benchmark.py", description)
    add = parser.add_argument
    add("data", metavar="DATA", help="the data set, see prepare.py")
    add("--baseline", required=True, metavar="FILE", help="the network to compare with")
    add("--recipe", nargs="+", required=True, metavar="FILE",
        help="those to compare with it; the last table is the first one's")
    add("--adapt", type=number(float, 0, 1), default=0.0, metavar="SHARE",
        help="show the --recipe networks also with BatchNorm adapted to each image, see predict.py (0: not)")
    add("--opening", type=number(int, 0, 99), default=0, metavar="PIXELS",
        help="and, beside that, with bright, upright lines taken away, see predict.py (0: not)")
    add("--networks", nargs="+", default=[], metavar="FILE", help="others, for the first and third table")
    add("--list", default="test.txt", metavar="FILE",
        help="the images to compute figures on, a file in DATA (test.txt; use val.txt to choose --adapt)")
    add("--near", nargs="+", default=[], metavar="DIR", help="images of nearly this kind, streets elsewhere say")
    add("--far", nargs="+", default=[], metavar="DIR", help="images of another kind")
    add("--out", required=True, metavar="DIR", help="a new folder, or one to go on with")
    add("--kinds", nargs="+", metavar="KIND", help="of corruption (all of corrupt.py)")
    add("--severities", nargs="+", type=number(int, 1, 5), default=[3], metavar="S", help="for the second table (3)")
    add("--keep", type=number(float, 0.5, 1), default=0.95, metavar="P",
        help="share of the images of val.txt that a threshold keeps (0.95)")
    add("--halo", type=number(int, 0, 127), default=32, metavar="PIXELS",
        help="what windows see around what they keep, at most what the network sees (32: little work, and of a U-Net "
             "with four poolings nearly the same classes)")
    add("--bf16", action="store_true", help="multiply in bfloat16, which is faster on CPUs made for it (off)")
    add("--images", type=number(int, 1), metavar="N",
        help="at most so many of each folder and list, spread evenly (all)")
    add("--quick", action="store_true", help="to try it: 6 images each, fog and rain only")
    args = parser.parse_args(argv)
    if args.quick:
        args.images, args.kinds = args.images or 6, args.kinds or ["fog", "rain"]
    return args
