"""The checkpoint: one file that rebuilds its own network."""
import io
import zipfile

import torch

from files import MARK, BadInput, write_whole
from model import NETWORKS

FORMAT = f"{MARK} 2"


def save_checkpoint(path, model, **facts):
    """Write the network and the `facts` that belong to it: tensors, numbers, strings, lists and dicts of them.

    predict.py needs the facts `classes`, `ignore`, `mean`, `std` and `settings`.
    """
    content = io.BytesIO()
    torch.save({"format": FORMAT, "network": model.name, "arguments": model.arguments,
                "weights": model.state_dict(), **facts}, content)
    with write_whole(path) as temporary:
        temporary.write_bytes(content.getvalue())


def load_checkpoint(path):
    """(network in eval mode, all facts saved with it). Raises BadInput for anything but a checkpoint of ours.

    A stranger's file can do no harm: `weights_only` lets no code run, and compressed archives, which could
    unfold to any size, are refused before they are read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("a compressed archive")
        facts = torch.load(path, map_location="cpu", weights_only=True)
        if facts["format"] == f"{MARK} 1":              # which knew neither ignored values nor this way to resume
            facts["ignore"], _ = [], facts.pop("resume", None)
        elif facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']}, expected {FORMAT}")
        values = [one["value"] for one in facts["classes"]]
        if (len(values), len(facts["mean"]), len(facts["std"])) != (facts["arguments"]["classes"], 3, 3) or not (
                isinstance(facts["ignore"], list) and isinstance(facts["settings"], dict)):
            raise ValueError("its parts do not fit together")
        model = NETWORKS[facts["network"]](**facts["arguments"])
        model.load_state_dict(facts["weights"])
        facts["arguments"] = model.arguments            # with those that were not yet known when it was written
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist; expected a checkpoint, as train.py writes it to model.pt") from None
    except Exception as error:   # unpickling a foreign file fails in many ways, all of which mean this:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise BadInput(f"{path} is no checkpoint of ours ({reason}); expected one that train.py wrote") from error
    return model.eval(), facts
