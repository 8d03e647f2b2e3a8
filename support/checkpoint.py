"""The checkpoint: one file that rebuilds its own network."""
import contextlib
import io
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from support.arguments import with_former_settings
from support.files import MARK, BadInput, write_whole
from support.metadata import NETWORK_ARGUMENTS, check_metadata, check_values

FORMAT, FORMER_FORMAT = f"{MARK} 2", f"{MARK} 1"

warnings.filterwarnings("ignore", category=UserWarning,               # a damaged file gets one line: our BadInput
                        module=r"torch\.(serialization|_weights_only_unpickler)")


def save_checkpoint(path: Path | str, network: nn.Module, **metadata: Any) -> None:
    """Write the network and its metadata: tensors, numbers, strings, lists and dicts of them.

    predict.py needs the metadata `classes`, `ignore`, `mean`, `std` and `settings`. Raises TypeError for what could not
    be read again, such as a number of NumPy's or a Path.
    """
    content = io.BytesIO()
    torch.save({"format": FORMAT, "network": network.name, "arguments": network.arguments,
                "weights": network.state_dict(), **metadata}, content)
    content.seek(0)
    if foreign := torch.serialization.get_unsafe_globals_in_checkpoint(content):
        raise TypeError(f"a checkpoint cannot hold {', '.join(sorted(foreign))}; expected Python's own numbers, "
                        "strings, lists and dicts, and tensors")
    with write_whole(path) as temporary:
        temporary.write_bytes(content.getvalue())


def load_checkpoint(path: Path | str, networks: dict[str, Any]) -> tuple[nn.Module, dict]:
    """Return (network in eval mode, all metadata saved with it); `networks` are the classes by name.

    No memory is taken for a network before its weights are known to be there. Raises BadInput for anything but a
    checkpoint of ours.
    """
    metadata = read_checkpoint(path)
    with opening(path):
        if metadata["network"] not in networks:
            raise ValueError(f"its network is {str(metadata['network'])[:40]!r}, which this version does not have")
        network = with_weights(networks[metadata["network"]], metadata["arguments"], metadata["weights"])
    metadata["arguments"] = network.arguments            # with those that were not yet known when it was written
    return network.eval(), metadata


def read_checkpoint(path: Path | str) -> dict[str, Any]:
    """Return what a checkpoint holds, including its weights, without making its network.

    A stranger's file can do no harm: `weights_only` lets no code run, and archives that could unfold to more than
    the file's own size are refused before they are read. Raises BadInput for anything but a checkpoint of ours.
    """
    with opening(path):
        refuse_what_unfolds(path)
        metadata = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(metadata, dict) or metadata.get("format") not in (FORMAT, FORMER_FORMAT):
            raise ValueError(f"its format is not {FORMAT}")
        if metadata["format"] == FORMER_FORMAT:          # which knew neither ignored values nor this way to resume
            metadata["ignore"], _ = [], metadata.pop("resume", None)
        check_values(metadata["arguments"], NETWORK_ARGUMENTS, "network's arguments")
        unknown = sorted(metadata["arguments"].keys() - NETWORK_ARGUMENTS.keys())
        if unknown:              # it could make a network of any size
            raise ValueError(f"its network has an argument {unknown[0]!r}, of which support/metadata.py says nothing")
        check_metadata(metadata, metadata["arguments"]["classes"])
        resume = metadata.get("resume", {})              # of last.pt
        if not isinstance(resume, dict) or not isinstance(resume.get("history", []), list):
            raise ValueError("what it holds of a training is damaged")
        metadata["settings"] = with_former_settings(metadata["settings"])
    return metadata


@contextlib.contextmanager
def opening(path: Path | str) -> Iterator[None]:
    """Turn whatever goes wrong with a checkpoint inside `with opening(path):` into a BadInput."""
    try:
        yield
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist; expected a checkpoint, as train.py writes it to model.pt, or one that "
                       "ships, such as challenges/logo/logo.pt") from None
    except (IsADirectoryError, PermissionError) as error:             # the latter, of a folder, on Windows
        if Path(path).is_dir():
            raise BadInput(f"{path} is a folder; expected a checkpoint, such as {Path(path) / 'model.pt'}") from None
        raise BadInput(f"{path} cannot be read ({error.strerror}); expected a checkpoint") from None
    except MemoryError:
        raise BadInput(f"{path} does not fit into the memory that is left; close other programs") from None
    except Exception as error:   # unpickling a foreign file fails in many ways, all of which mean this:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise BadInput(f"{path} is no checkpoint of ours ({reason}); expected one that train.py wrote") from error


def refuse_what_unfolds(path: Path | str) -> None:
    """Raise ValueError for an archive whose entries are compressed or overlap: it could unfold to any size."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("a compressed archive")
    if sum(entry.file_size for entry in entries) > Path(path).stat().st_size:
        raise ValueError("an archive that is larger inside than outside")


def with_weights(network_class: Any, arguments: dict, weights: dict[str, torch.Tensor]) -> nn.Module:
    """Return a network with these weights: built without memory, it takes theirs. Raises ValueError."""
    with torch.device("meta"):
        network = network_class(**arguments)
    state = network.state_dict()
    form = lambda tensors: {name: (tensor.shape, tensor.is_floating_point()) for name, tensor in tensors.items()}
    if form(weights) != form(state):
        raise ValueError("its weights are not those of its network")
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"its weights {name} hold what is no number")
    own = {name: tensor.to(state[name].dtype).clone(memory_format=torch.contiguous_format)
           for name, tensor in weights.items()}
    network.load_state_dict(own, assign=True)
    return network
