"""The command lines of the tools. Nothing but the standard library is imported, so that --help answers at once."""
from support.arguments import add_network_knobs, add_prediction_knobs
from support.script import Parser, number


def convert_arguments(argv=None, description=None):
    """Parse the command line of tools.convert."""
    parser = Parser("tools.convert", description)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND",
                                  help="what there is: pairs, ..., or what masks become: to-coco, to-geojson; each has "
                                  "--help")

    def begin(kind, text):
        add = kinds.add_parser(kind, help=text, description=text).add_argument
        if kind.startswith("to-"):
            add("masks", metavar="MASK_DIR", help="masks, such as those of infer.py")
            add("--classes", metavar="FILE", help="the class table (classes.json in MASK_DIR or beside it, if there)")
            add("--tolerance", type=number(float, 0, 100), default=0, metavar="PIXELS",
                help="how far outlines may lie from the pixels' edges, to have fewer corners to correct (0: exact)")
        else:
            add("--out", required=True, metavar="DIR", help="the data set: a new folder, or one to go on with")
        return add

    add = begin("pairs", "images and masks in folders of any names, or in one folder")
    add("--images", required=True, nargs="+", metavar="DIR", help="the images; also several folders, as train/images "
        "val/images, which become train.txt and val.txt")
    add("--masks", required=True, nargs="+", metavar="DIR", help="the masks: as many folders, in the same order; each "
        "may be that of its images")
    add("--suffix", default="", metavar="TEXT", help="what ends a mask's name, before the extension, as _mask (none)")
    add("--prefix", default="", metavar="TEXT", help="what begins it, as mask_ (none)")
    add("--image-suffix", default="", metavar="TEXT", help="what ends an image's name, as _sat (none)")
    add("--names", metavar="FILE", help="the classes: a name a line from value 0 on, as codes.txt; or a table, "
        "as _classes.csv or class_dict.csv (found by value)")
    add = begin("objects", "images with a mask for each object; all objects are one class")
    add("folder", metavar="DIR", help="what holds ONE/images/ and ONE/masks/, or images/ONE.png and masks/ONE_1.png, "
        "or ONE.png and ONE_mask_1.png")
    add = begin("labelme", "labelme's JSON files, with their images")
    add("folder", metavar="DIR", help="where they are")
    add("--images", metavar="DIR", help="the images, where they lie neither beside their files nor as these say")
    add = begin("cvat", "CVAT's own XML file, CVAT for images 1.1; its Segmentation mask 1.1 is for voc")
    add("file", metavar="FILE", help="annotations.xml")
    add("--images", metavar="DIR", help="the folder that its file names are in (that of FILE, or images/ beside it)")
    add = begin("voc", "Pascal VOC's folders, also as CVAT and labelme write them")
    add("folder", metavar="DIR", help="what holds JPEGImages/ and SegmentationClass/")
    add("--images", metavar="DIR", help="the images, as CVAT leaves them out (JPEGImages/ in DIR)")
    add("--names", metavar="FILE", help="the classes, a name a line from value 0 on (labelmap.txt, class_names.txt)")
    add = begin("yolo", "YOLO's outlines: images/ and labels/ with a file of text for each image")
    add("folder", metavar="DIR", help="what holds images/ and labels/, or train/images/, train/labels/ and so on")
    add("--names", metavar="FILE", help="the classes: a data.yaml, or a name a line (data.yaml in DIR, else "
        "its only YAML file, else classes.txt)")
    add = begin("coco", "any annotation file in COCO's format, all its classes; or several files")
    add("file", nargs="+", metavar="FILE", help="the annotations, .json; also several, as train/_annotations.coco.json "
        "valid/_annotations.coco.json")
    add("--images", required=True, nargs="+", metavar="DIR", help="the folder that its file names are in; of several "
        "files as many, in the same order, as train valid, which become train.txt and val.txt")

    add = begin("to-coco", "masks as outlines in COCO's format, to be corrected in an annotation tool")
    add("--images", required=True, metavar="DIR", help="their images, of the same names")
    add("--out", required=True, metavar="FILE", help="the annotations, .json")
    add = begin("to-geojson", "masks as outlines in GeoJSON: in pixels, for QuPath, or of GeoTIFF on the map, for QGIS")
    add("--out", required=True, metavar="DIR", help="a folder: NAME.geojson for each mask")
    return parser.parse_args(argv)


def crossvalidate_arguments(argv=None, description=None):
    """Return (our arguments, those for train.py)."""
    parser = Parser("tools.crossvalidate", description)
    add = parser.add_argument
    add("--folds", type=number(int, 2, 100), default=5, metavar="K", help="parts, and trainings (5)")
    add("--first", type=number(int, 1, 100), metavar="N", help="do only the first N of them, to save time (all)")
    add("--out", required=True, metavar="DIR", help="a folder for all of it")
    add("--data", required=True, metavar="DIR", help="the data set, a folder")
    add("--test-data", metavar="DIR",
        help="test on the images and masks of the same names in this folder, where masks to train on differ (--data)")
    parser.allow_abbrev = False  # or --t, meant for train.py, would be taken for --test-data
    return parser.parse_known_args(argv)


def digests_arguments(argv=None, description=None):
    """Parse the command line of tools.digests."""
    return Parser("tools.digests", description).parse_args(argv)


def export_arguments(argv=None, description=None):
    """Parse the command line of tools.export."""
    parser = Parser("tools.export", description)
    add = parser.add_argument
    add("checkpoint", nargs="?", default="model.pt", metavar="CHECKPOINT", help="a trained network (model.pt)")
    add("--out", default="model.onnx", metavar="FILE",
        help="the file to write, .onnx or, for weights in 16 bits, .pt (model.onnx)")
    add("--int8", metavar="IMAGE_DIR", help="also write it in 8 bits, as model.int8.onnx, scaled to these images")
    add("--int8-only", metavar="FILE", help="those of them that this text file names, as train.txt (all)")
    add("--windows", type=number(int, 1), default=200, metavar="N",
        help="windows of those images that the scales of the 8 bits are taken from, at most (200)")
    add("--benchmark", metavar="IMAGE_DIR", help="then time all kinds on these images: a table")
    add("--masks", metavar="DIR", help="their masks: the table also has the Dice of each")
    add("--only", metavar="FILE", help="those of them that this text file names, as test.txt (all)")
    add("--rounds", type=number(int, 1, 100), default=3, metavar="N",
        help="processes for each kind, taking turns, so that a change in the machine's speed meets all (3)")
    add("--halo", type=number(int, 0, 127), metavar="PIXELS",
        help="what windows see around what they keep, in the benchmark (all the network can)")
    args = parser.parse_args(argv)
    if args.out.lower().endswith(".pt") and (args.int8 or args.benchmark):
        parser.error("--int8 and --benchmark: expected an --out that ends in .onnx")
    if args.int8_only and not args.int8:
        parser.error("--int8-only: expected --int8 beside it")
    if not args.benchmark and (args.masks or args.only or args.halo is not None):
        parser.error("--masks, --only and --halo belong to the benchmark; expected --benchmark beside them")
    return args


def paint_arguments(argv=None, description=None):
    """Parse the command line of tools.paint."""
    parser = Parser("tools.paint", description)
    add = parser.add_argument
    add("images", nargs="*", metavar="IMAGE", help="images, or folders of them (those in --out; the bundled sample)")
    add("--checkpoint", metavar="FILE", help="begin with this network, and correct its predictions (a new one)")
    add("--out", default="painted", metavar="DIR", help="the data set: a new folder, or one to go on with (painted)")
    add("--port", type=number(int, 1024, 65535), metavar="N", help="the port of the address (any that is free)")
    add("--no-browser", action="store_true", help="print the address and open no browser")
    return parser.parse_args(argv)


def report_arguments(argv=None, description=None):
    """Parse the command line of tools.report."""
    parser = Parser("tools.report", description)
    add = parser.add_argument
    add("run", metavar="RUN_DIR", help="what train.py --out named: a folder with model.pt and history.csv")
    add("--images", metavar="DIR", help="images to test on (those that the training validated on)")
    add("--masks", metavar="DIR", help="their masks")
    add("--only", metavar="FILE", help="those that this text file names, one a line, without extension (all)")
    add("--gallery", type=number(int, 1, 5), default=2, metavar="N", help="show the N best, median and worst (2)")
    add("--title", help="of the report (the name of RUN_DIR)")
    add("--out", metavar="DIR", help="where the report goes (RUN_DIR)")
    add_prediction_knobs(add)
    args = parser.parse_args(argv)
    if bool(args.images) != bool(args.masks) or args.only and not args.images:
        parser.error("--images, --masks and --only: expected the first two together, --only with them")
    return args


def show_arguments(argv=None, description=None):
    """Parse the command line of tools.show."""
    parser = Parser("tools.show", description)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="network | patches | windows")
    add = kinds.add_parser("network", help="a network as a table").add_argument
    add_network_knobs(add)
    add("--size", type=number(int, 2, 256), default=256, help="side of the input, in pixels (256)")
    add("--classes", type=number(int, 1, 255), default=2, help="classes to tell apart (2)")
    add = kinds.add_parser("patches", help="a batch of training patches").add_argument
    add("--out", default="patches.png", help="the picture (patches.png)")
    add = kinds.add_parser("windows", help="the windows over an image").add_argument
    add("image", nargs="?", help="an image to draw on (the bundled sample)")
    add("--halo", type=int, default=8, help="what the network sees around a pixel (8, the FCN's)")
    add("--stride", type=int, default=2, help="its pooling grid (2, the FCN's)")
    add("--window", type=int, help="side of a window (the least that needs no more windows than 256)")
    add("--out", default="windows.png", help="the picture (windows.png)")
    return parser.parse_args(argv)


def speed_arguments(argv=None, description=None):
    """Parse the command line of tools.speed."""
    parser = Parser("tools.speed", description)
    add = parser.add_argument
    add("network", metavar="NETWORK", help="a .pt file of train.py, or an .onnx file of tools.export")
    add("images", metavar="IMAGE_DIR", help="a directory of images")
    add("--only", metavar="FILE", help="the images it names, without extension, one a line, as in test.txt (all)")
    add("--amp", choices=["auto", "on", "off"], default="off", help="multiply in 16 bits, of a .pt file (off)")
    add("--threads", type=number(int, 1, 1024), metavar="N", help="(one for each core)")
    add("--halo", type=number(int, 0, 127), metavar="PIXELS",
        help="run whole windows that see this many pixels around what they keep (off: all the network can see, exact)")
    add("--json", metavar="FILE", help="also write the figures, for programs to read")
    add("--indices", metavar="DIR", help="also write the class indices of each image, as NAME.png, into a new folder")
    return parser.parse_args(argv)


def thresholds_arguments(argv=None, description=None):
    """Parse the command line of tools.thresholds."""
    parser = Parser("tools.thresholds", description)
    add = parser.add_argument
    add("images", metavar="IMAGE_DIR", help="images of the familiar kind, that the network did not learn from")
    add("--checkpoint", default="model.pt", metavar="FILE", help="a trained network (model.pt)")
    add("--only", metavar="FILE", help="the images it names, without extension, one a line, as in val.txt (all)")
    add("--against", metavar="DIR", help="images of another kind, to count how many would be rejected")
    add("--keep", type=number(float, 0.01, 1), default=0.95, metavar="P", help="share of the familiar to keep (0.95)")
    add_prediction_knobs(add)
    return parser.parse_args(argv)
