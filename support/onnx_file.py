"""A network that tools/export.py wrote as ONNX, opened by ONNX Runtime; nothing here needs PyTorch."""
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from support.files import MARK, BadInput, is_ours
from support.machine import cores
from support.metadata import check_metadata
from support.script import needs

FORMAT = f"{MARK} onnx 1"


class OnnxNetwork(NamedTuple):
    """A network in an .onnx file, opened by ONNX Runtime."""

    halo: int
    stride: int
    session: Any                 # onnxruntime.InferenceSession


def load_onnx(path: Path | str, threads: int | None = None) -> tuple[OnnxNetwork, dict]:
    """Return (OnnxNetwork, metadata as in a checkpoint) of a file, to be run by so many threads (all cores).

    Raises BadInput for a file that tools/export.py did not write, and where ONNX Runtime is missing. Unlike a
    checkpoint's, this format is not known to be harmless in a stranger's hands: open files of people that
    you trust.
    """
    onnxruntime, = needs("onnxruntime")
    try:
        if not is_ours(path):
            raise ValueError("our mark is missing")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or cores()
        options.log_severity_level = 3       # errors only; they are in the exception below
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        metadata = json.loads(session.get_modelmeta().custom_metadata_map[MARK])
        if metadata["format"] != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        check_metadata(metadata, session.get_outputs()[0].shape[1])
        if not all(type(metadata[name]) is int and least <= metadata[name] <= 1024
                   for name, least in (("halo", 0), ("stride", 1))):
            raise ValueError("its halo or stride is no whole number")
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist; expected a network, as tools.export writes it to model.onnx") from None
    except Exception as error:   # ONNX Runtime fails in many ways, all of which mean this:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise BadInput(f"{path} is no network of ours ({reason}); expected one that tools.export wrote") from error
    return OnnxNetwork(metadata["halo"], metadata["stride"], session), metadata


def normalize_window(window: np.ndarray, mean: list[float], std: list[float]) -> np.ndarray:
    """Return a uint8 window (h, w, 3) as float32 (1, 3, h, w): (pixel - mean) / std, as model.normalize does it."""
    scale = (1 / (255 * np.asarray(std))).astype(np.float32)
    shift = (-np.asarray(mean) / std).astype(np.float32)
    return np.ascontiguousarray((window * scale + shift).transpose(2, 0, 1)[None])
