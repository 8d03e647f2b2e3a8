# %% [markdown]
# # 2. A picture larger than memory
#
# Suppose that a network's input of 256×256 pixels is all that fits into memory. Photographs are larger. So one cuts
# them into *windows*, segments each, and lays the results side by side.
#
# **Question.** Can that be done without a trace?
#
# **Predict first.** We cut a photograph of 512×512 pixels into 64 tiles of 64×64. For which share of the pixels does
# the network now compute a value different from the whole photograph's: 1 %, 5 %, a third? (A pixel sees up to 7
# pixels around it, says chapter 1.)

# %%
import sys

sys.path.extend(["..", "."])     # the project's folder, as this is opened in it or in lessons/

import numpy as np
import torch

from lessons import ORANGE, ROOT, canvas, check, fact, show
from model import UNet, load_network, normalize
from patches import stage_side, stitch, tiles
from segmenter import staged_forward, torch_forward
from support.sample import sample

# %% [markdown]
# **Experiment.** First, a referee: the network's result for the whole photograph at once, in memory that we pretend
# not to have. Computers round sums, and round them differently for images of different sizes. To leave no excuse, the
# trained network that comes with the project gets weights that are whole multiples of 1/64, and colours that are
# multiples of 1/8 (not the colours as it learned them, which does not matter here). With 64-bit numbers, all of its
# sums are then exact, and two results are either the same to the last bit or really different.

# %%
image, _ = sample()                                      # uint8 (512, 512, 3)
network, _ = load_network(ROOT / "checkpoints" / "fcn.pt")
network = network.double()
with torch.no_grad():
    for weight in network.parameters():
        weight.copy_((64 * weight).round() / 64)


def forward(window):
    """Return the logits float64 (2, h, w), a score for each class and pixel, of a window uint8 (h, w, 3)."""
    colours = torch.from_numpy(window / 8 - 16).permute(2, 0, 1)[None]     # (1, 3, h, w), multiples of 1/8
    with torch.no_grad():
        return network(colours)[0].numpy()


whole = forward(image)                                   # (2, 512, 512)

# %% [markdown]
# Now in tiles. `stitch` is the project's own function. `halo` is how many pixels each window shows beyond its *core*,
# the part that is kept; halo 0 means plain tiles. Windows begin on multiples of the *stride*, here 2, for the sake of
# pooling (chapter 1). `python -m tools.show windows` draws them.

# %%
changed = {}
for halo in (0, 2, 4, 6, 8):
    window = 64 + 2 * halo                               # so that the core always has 64×64 pixels
    stitched = stitch(forward, image, halo, network.stride, window)
    changed[halo] = (stitched != whole).any(axis=0)      # (512, 512)
    print(f"halo {halo}: {changed[halo].mean():.1%} of the pixels have a different value from the whole photograph's")

fact("share of pixels that plain tiles change", changed[0].mean(), stated=0.30, within=0.01)
fact("share that windows with a halo of 4 change", changed[4].mean(), stated=0.10, within=0.01)
fact("pixels that windows with a halo of 8 change", changed[8].sum(), stated=0)
fact("pixels that windows with a halo of 6 change", changed[6].sum(), stated=0)

# %%
figure, panels = canvas(columns=2, height=4.6)
part = np.s_[192:448, 128:384]
grey = np.repeat(image[part].mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
for axes, halo in zip(panels, (0, 8)):
    axes.imshow(np.where(changed[halo][part][:, :, None], np.uint8([213, 94, 0]), grey))
    axes.set(title=f"halo {halo}: {changed[halo].mean():.0%} changed", xticks=[], yticks=[])
figure.supxlabel("orange: a different value from the whole photograph's", color=ORANGE)
show(figure, "2")

# %% [markdown]
# **What to see.** On the left, the seams: along the edge of a tile, the network sees zeros, here a grey, where the
# photograph goes on. On the right there is nothing to see, and that is the point.
#
# **Answer.** Yes: with a halo of **8** pixels the stitched result is the whole one, **to the last bit**. Plain tiles
# change **30 %** of the values, a halo of 4 still 10 %.
#
# A surprise: 6 is enough, though a pixel sees up to 7. Chapter 1 has the reason. A core begins with an even column,
# which sees 6 to the left, and it ends with an odd one, which sees 6 to the right. The project rounds 7 up to 8 and
# stays on the safe side.
#
# ## Stage by stage
#
# A *U-Net* (chapter 6) sees much further: its halo is 48 pixels with three poolings, 96 with four. Windows of 256
# pixels then consist mostly of halo, and most of the work is done more than once.

# %%
for depth in (3, 4):
    halo, stride = UNet.reach(depth, upsample="transposed")
    height, width, cover = tiles(2048, 2048, halo, stride)
    work = len(cover) * height * width / 2048**2
    stated = {3: 2.48, 4: 13.14}[depth]
    fact(f"{depth} poolings: halo {halo}; how often each pixel is computed", work, stated, within=0.01)

# %% [markdown]
# But a U-Net is a chain of *stages*, of two convolutions each, and one stage sees only 2 pixels to each side. So the
# project runs the first stage over the whole image, in windows with a halo of 2, puts its result together, runs the
# next stage over that, and so on. The price: the whole result of each stage has to be kept.

# %%
for level, stated in (0, 1.04), (4, 1.27):
    side = 2048 // 2**level
    height, width, cover = tiles(side, side, 2, 1, limit=stage_side(level))      # more channels: smaller windows
    work = len(cover) * height * width / side**2
    fact(f"stage by stage: how often each pixel of {side}×{side} is computed", work, stated, within=0.01)

torch.manual_seed(0)
unet, colours = UNet(classes=2, width=4, depth=3).eval(), ([0.7, 0.6, 0.6], [0.2, 0.2, 0.2])     # mean, deviation
in_windows = stitch(torch_forward(unet, *colours), image, unet.halo, unet.stride)
in_stages = staged_forward(unet, *colours)(image)
with torch.no_grad():
    at_once = unet(normalize(image[None], *colours))[0].numpy()
for name, result in ("windows", in_windows), ("stages", in_stages):      # with usual 32-bit numbers: up to rounding
    fact(f"in {name}: largest difference from the whole", abs(result - at_once).max(), stated=0, within=1e-5)

# %% [markdown]
# With four poolings, windows of the whole network do **13 times** the work. Stages repeat 4 % of theirs at full size
# and a quarter at the smallest. The result is the same.
#
# ## Exercises
#
# **2.1** Your memory is a quarter of that: 128×128 pixels. Change one number in `patches.py`. Predict first how many
# windows a photograph of 512×512 pixels will need, with a halo of 8.

# %%
check("2.1")

# %% [markdown]
# **2.2** An image of odd width is padded to an even one by repeating its last column. Mirror it instead: the new column
# shall be like the last but one. You will find two places, in `model.py` and in `patches.py`. Change one of them first,
# and run the check: what does it say, and why?

# %%
check("2.2")
