"""A network that export.py wrote as ONNX, run by ONNX Runtime. Neither this nor what it imports needs PyTorch."""
import json
from typing import NamedTuple

import numpy as np

import patches
from files import MARK, BadInput, is_ours
from processes import cores

FORMAT = f"{MARK} onnx 1"


class Exported(NamedTuple):
    """An opened file; `patches.context` and `patches.stitch` ask a network for the first two."""

    halo: int
    stride: int
    session: object              # onnxruntime.InferenceSession


def needs(*packages):
    """The modules of these names. Raises BadInput that says what to install."""
    from importlib import import_module

    modules = []
    for package in packages:
        try:
            modules.append(import_module(package))
        except ImportError as error:
            package = package.split(".")[0]
            raise BadInput(f"{package} cannot be used here ({error}); pip install {package}") from None
    return modules


def load_exported(path, threads=None):
    """(Exported, facts as in a checkpoint) of a file that export.py wrote, to be run by so many threads (all cores).

    Raises BadInput for any other file, and where ONNX Runtime is missing. Unlike a checkpoint's, this format is not
    known to be harmless in a stranger's hands: open files of people that you trust.
    """
    onnxruntime, = needs("onnxruntime")
    try:
        if not is_ours(path):
            raise ValueError("our mark is missing")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or cores()
        options.log_severity_level = 3       # errors only; they are told below
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        facts = json.loads(session.get_modelmeta().custom_metadata_map[MARK])
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']}, expected {FORMAT}")
        sizes = len(facts["classes"]), len(facts["mean"]), len(facts["std"])
        if sizes != (session.get_outputs()[0].shape[1], 3, 3) or not isinstance(facts["settings"], dict):
            raise ValueError("its parts do not fit together")
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist; expected a network, as export.py writes it to model.onnx") from None
    except Exception as error:   # ONNX Runtime fails in many ways, all of which mean this:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise BadInput(f"{path} is no network of ours ({reason}); expected one that export.py wrote") from error
    return Exported(facts["halo"], facts["stride"], session), facts


def normalize(window, mean, std):
    """A uint8 window (h, w, 3) → float32 (1, 3, h, w), (pixel - mean) / std, as model.normalize does it."""
    scale = (1 / (255 * np.asarray(std))).astype(np.float32)
    shift = (-np.asarray(mean) / std).astype(np.float32)
    return np.ascontiguousarray((window * scale + shift).transpose(2, 0, 1)[None])


def predictor(network, mean, std):
    """As model.predictor: a function of a uint8 window (h, w, 3) to float32 logits (classes, h, w)."""
    def forward(window):
        image = patches.within_budget(normalize(window, mean, std))
        return network.session.run(None, {"image": image})[0][0]

    return forward


def segmenter(network, facts, halo=None, tta=False, seen=None):
    """As predict.segmenter: a function of an image uint8 (H, W, 3) to class indices uint8 (H, W)."""
    forward = predictor(network, facts["mean"], facts["std"])
    return patches.segmenter(forward, network, facts["settings"], halo, tta, seen)
