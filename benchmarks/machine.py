"""The machine that figures are measured on, as one line to print above them."""
import os
import platform
from datetime import date

import torch


def machine():
    return (f"{date.today()}, {platform.machine()} with {torch.get_num_threads()} threads of {os.cpu_count()}, "
            f"Python {platform.python_version()}, torch {torch.__version__}")
