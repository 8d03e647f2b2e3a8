# %% [markdown]
# # 3. A convolution in another place
#
# The last two layers of the FCN double a small image, by repeating each value in a 2×2 square, and then take sums over
# 5×5 pixels of the large image.
#
# **Question.** Can the same result be had for less work?
#
# **Predict first.** Of the 25 values under the 5×5 kernel, how many are different? How much work would be left if each
# were multiplied only once: a half, a third, a quarter? And would the whole network then be faster by a lot, or hardly?

# %%
import sys

sys.path.extend(["..", "."])     # the project's folder, as this is opened in it or in lessons/

import time

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from lessons import BLUE, ORANGE, canvas, check, fact, show
from model import FCN, convolve_doubled

# %% [markdown]
# **Experiment.** After repeating, 5 neighbours in a row are copies of only 3 values of the small image: *a a b b c* or
# *a b b c c*. Weights on copies can be added up before: *v a + w a + x b + y b + z c* is *(v + w) a + (x + y) b + z c*.
# So each pixel of the large image needs 3×3 multiplications instead of 5×5: four 3×3 kernels, one for each pixel of a
# 2×2 square. The project's `convolve_doubled` does that, and the prescribed layers are still there. With whole numbers
# for all weights and values, sums are exact, so that "the same" can mean: to the last bit.

# %%
torch.manual_seed(0)
network = FCN(classes=2)
upsample, conv4 = network.layers.upsample, network.layers.conv4
with torch.no_grad():
    for weight in conv4.parameters():
        weight.copy_(torch.randint(-9, 10, weight.shape))
    small = torch.randint(-9, 10, (1, 16, 128, 128)).float()      # as it comes out of conv3: half the sides
    prescribed = conv4(upsample(small))                           # (1, 2, 256, 256)
    rearranged = convolve_doubled(small, conv4)                   # (1, 2, 256, 256)
fact("values that differ", (prescribed != rearranged).sum().item(), stated=0)


def megaflops(function, *inputs):
    """Return how many million additions and multiplications of convolutions a function takes."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function(*inputs)
    return counter.get_total_flops() / 1e6


image = torch.randn(1, 3, 256, 256).contiguous(memory_format=torch.channels_last)
before, after = megaflops(lambda x: conv4(upsample(x)), small), megaflops(convolve_doubled, small, conv4)
all_before, all_after = megaflops(network.as_prescribed, image), megaflops(network, image)
fact("million FLOPs, 5×5 on the large image", before, stated=104.9, within=0.1)
fact("million FLOPs, four 3×3 on the small one", after, stated=37.7, within=0.1)
fact("share of the layer's work that is left", after / before, stated=0.36)
fact("share of the whole network's work that is left", all_after / all_before, stated=0.927, within=0.001)

# %% [markdown]
# So the layer takes 36 % of the work, but as it is a small part of the network, only 7 % of all is saved. Is the
# network then only 7 % faster? FLOPs, additions and multiplications of numbers, are counted; now take a clock. (The
# rearranged network also takes ReLU after the pooling: the same, on a quarter of the values.)


# %%
def milliseconds(function, *inputs, repeats=15):
    """Return the least of several times: another program may have disturbed the others."""
    times = []
    with torch.inference_mode():
        for _ in range(repeats):
            began = time.perf_counter()
            function(*inputs)
            times.append(1000 * (time.perf_counter() - began))
    return min(times)


network = network.to(memory_format=torch.channels_last)
print(f"on this machine: as prescribed {milliseconds(network.as_prescribed, image):.1f} ms, rearranged "
      f"{milliseconds(network, image):.1f} ms")
x, work, clock = image, {}, {}
for name, layer in network.layers.named_children():
    if name in ("upsample", "conv4"):
        continue
    work[name], clock[name] = megaflops(layer, x), milliseconds(layer, x)
    x = layer(x).detach()
parts = {"conv4,\n5×5": lambda x: conv4(upsample(x)), "conv4,\nfour 3×3": lambda x: convolve_doubled(x, conv4)}
for name, layer in parts.items():
    work[name], clock[name] = megaflops(layer, x), milliseconds(layer, x)

others = "relu1", "relu2", "pool", "relu3"
fact("million FLOPs of ReLU and pooling, as the counter has it", sum(work[name] for name in others), stated=0)
print(f"but on this machine they take {sum(clock[name] for name in others):.1f} ms")

# %%
figure, axes = canvas(height=5)
names = ["conv1", "conv2", "conv3", *parts]
place = np.arange(len(names))
for shift, values, scale, form, colour, label in (-0.2, work, 1, "%.0f", ORANGE, "million FLOPs"), \
        (0.2, clock, 100, "%.1f", BLUE, "milliseconds"):
    heights = [scale * values[name] for name in names]   # so that both fit into one picture
    bars = axes.bar(place + shift, heights, 0.4, color=colour, label=label)
    axes.bar_label(bars, [form % values[name] for name in names], fontsize=12)
axes.set_xticks(place, names)
axes.set(yticks=[], title="Work and time of the convolutions")
axes.spines[["left", "top", "right"]].set_visible(False)
figure.legend(frameon=False, loc="outside lower center", ncols=2)
show(figure, "3")

# %% [markdown]
# **What to see.** If FLOPs were time, each blue bar would be the same share of its orange one. On the machine of the
# picture that comes with this chapter, it roughly is for the first three. But the 5×5 convolution has only 2
# channels out, one for each class, and most of the processor's arithmetic units have nothing to do: it takes two thirds
# of the time of those three together, for an eighth of their FLOPs. "Four 3×3" has 8 channels out, a smaller image, and
# takes little more than a quarter of the time.
#
# The *layout* matters as well: whether a pixel's channels lie beside each other in memory (channels last) or each
# channel is a plane of its own. The FLOPs are the same:

# %%
planes = FCN(classes=2).to(memory_format=torch.contiguous_format)
print(f"on this machine: channels last {milliseconds(network, image):.1f} ms, planes "
      f"{milliseconds(planes, image.contiguous()):.1f} ms")

# %% [markdown]
# **Answer.** The same result, to the last bit where sums are exact, for **36 %** of the layer's work; that is **93 %**
# of the network's. What it saves in time depends on the machine: measure it, as FLOPs do not say. (`docs/BENCHMARKS.md`
# has the project's own figures.)
#
# ## Exercises
#
# **3.1** Let `convolve_doubled` (in `model.py`) also rearrange a 3×3 convolution, and keep the 5×5. Which weights fall
# on copies now? A 3×3 kernel reaches only two values of the small image in each direction: of an even pixel's three
# sums one becomes 0, of an odd one's another. Does it save any work?

# %%
check("3.1")

# %% [markdown]
# **3.2** The U-Net's `doubling` (in `model.py`), where `upsample` is not "transposed", has a 1×1 convolution *before*
# the upsampling. Put it after. Predict: what becomes of the result, and of the work?

# %%
check("3.2")
