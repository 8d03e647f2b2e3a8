"""The checkpoint: one file that rebuilds its own network."""
import io
import zipfile

import torch

from support.arguments import with_former_settings
from support.files import MARK, BadInput, write_whole

FORMAT = f"{MARK} 2"


def save_checkpoint(path, network, **metadata):
    """Write the network and its metadata: tensors, numbers, strings, lists and dicts of them.

    predict.py needs the metadata `classes`, `ignore`, `mean`, `std` and `settings`.
    """
    content = io.BytesIO()
    torch.save({"format": FORMAT, "network": network.name, "arguments": network.arguments,
                "weights": network.state_dict(), **metadata}, content)
    with write_whole(path) as temporary:
        temporary.write_bytes(content.getvalue())


def load_checkpoint(path, networks):
    """Return (network in eval mode, all metadata saved with it); `networks` are the classes by name.

    A stranger's file can do no harm: `weights_only` lets no code run, and compressed archives, which could
    unfold to any size, are refused before they are read. Raises BadInput for anything but a checkpoint of
    ours.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("a compressed archive")
        metadata = torch.load(path, map_location="cpu", weights_only=True)
        if metadata["format"] == f"{MARK} 1":           # which knew neither ignored values nor this way to resume
            metadata["ignore"], _ = [], metadata.pop("resume", None)
        elif metadata["format"] != FORMAT:
            raise ValueError(f"format {metadata['format']}, expected {FORMAT}")
        values = [entry["value"] for entry in metadata["classes"]]
        sizes = len(values), len(metadata["mean"]), len(metadata["std"])
        if sizes != (metadata["arguments"]["classes"], 3, 3) or not (
                isinstance(metadata["ignore"], list) and isinstance(metadata["settings"], dict)):
            raise ValueError("its parts do not fit together")
        network = networks[metadata["network"]](**metadata["arguments"])
        network.load_state_dict(metadata["weights"])
        metadata["arguments"] = network.arguments       # with those that were not yet known when it was written
        metadata["settings"] = with_former_settings(metadata["settings"])
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist; expected a checkpoint, as train.py writes it to model.pt") from None
    except Exception as error:   # unpickling a foreign file fails in many ways, all of which mean this:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise BadInput(f"{path} is no checkpoint of ours ({reason}); expected one that train.py wrote") from error
    return network.eval(), metadata
