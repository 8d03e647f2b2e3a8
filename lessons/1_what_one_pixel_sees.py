# %% [markdown]
# # 1. What one pixel sees
#
# *Segmentation* gives every pixel of an image a class: here, gland (the brown of a photograph of tissue, with the blue
# nuclei in it) or not. The answer is a *mask*, an image of class numbers. A *network* computes it, and for one pixel of
# the mask it looks at a small square of the image.
#
# **Question.** How large is that square, and how much better is it than a single pixel?
#
# Our network, the FCN (fully convolutional network) in `model.py`, is a chain of *layers*. A *convolution* 3×3 replaces
# each pixel by weighted sums, its *channels*, of the 3×3 pixels around it; the weights of one sum, a *kernel*, are what
# is learned. *Pooling* keeps the highest of each 2×2 pixels, which halves the image; *upsampling* doubles it again. In
# order: convolution 3×3, convolution 3×3, pooling 2×2, convolution 3×3, upsampling, convolution 5×5. After each of the
# first three convolutions, *ReLU* replaces what is negative by 0: without it, two convolutions in a row could do no
# more than a single larger one.
#
# **Predict first.** How many pixels wide is the square? And if a network may see the colour of one pixel only, how well
# can it do: right for half of the pixels, for three quarters, for nine tenths? Write both down.

# %%
import sys

sys.path.extend(["..", "."])     # the project's folder, as this is opened in it or in lessons/

import numpy as np
import torch
from matplotlib.patches import Rectangle

from lessons import ORANGE, canvas, check, fact, learn, measured, show
from metrics import confusion_matrix, iou
from model import FCN
from support.sample import sample

# %% [markdown]
# **Experiment.** The *gradient* of an output says how it changes when an input changes a little. It is 0 for a pixel
# that does not matter. So we ask for the gradient of a single output pixel, and count the columns where it is not 0.
# Pooling passes on only the highest of four values, and ReLU none that is negative; therefore we ask with 200 random
# images and take all columns that ever matter.


# %%
def columns_that_matter(network, x):
    """Return the columns of a 32×32 image on which the output pixel (16, x) depends, as distances from x."""
    images = torch.randn(200, 3, 32, 32, requires_grad=True)
    logits = network(images)                             # (200, 2, 32, 32): a score for each class and pixel
    logits[:, :, 16, x].sum().backward()                 # now images.grad holds the gradient, (200, 3, 32, 32)
    return (images.grad.abs().sum(dim=(0, 1, 2)).nonzero()[:, 0] - x).tolist()


torch.manual_seed(0)
network = FCN(classes=2)
even, odd = columns_that_matter(network, 16), columns_that_matter(network, 17)
fact("columns that a pixel sees", len(even), stated=14)
fact("of which to the left of an even pixel", -min(even), stated=6)
fact("of which to the left of an odd pixel", -min(odd), stated=7)
fact("the halo that the network states", network.halo, stated=8)

# %% [markdown]
# A pixel sees **14×14** pixels. Count back: the last convolution reads 5 columns, copies of 3 in the small image; the
# third reads 5 there, each of which pooling made of 2; the second reads 12, the first 14. That is 6 on one side and 7
# on the other, which depends on the pixel's place in its 2×2 group. Why then does the network state a *halo* of 8, the
# margin to be shown around a pixel? A part cut out of the image has to begin with a whole 2×2 group, or pooling would
# group other pixels than in the whole image. So margins are even, and 8 is the smallest even number that is at least 7.
#
# Now the other half of the question. From the left half of a photograph of tissue, first learn what *colour alone* can
# tell: for each colour, was it gland more often than not? Then the network learns from the same half (chapter 4 shows
# how). Both are tested on the right half, which neither has seen. The figure is the *IoU*, intersection over union:
# pixels that are gland in both masks, divided by those that are gland in at least one. 1 is perfect.

# %%
image, mask = sample()                                   # uint8 (512, 512, 3), and (512, 512) of 0 and 255
truth = mask // 255                                      # classes: 1 is gland
shades = (image // 16).astype(int) @ [256, 16, 1]        # 4,096 colours, as 16 shades of red, green and blue
glands = np.bincount(shades[:, :256].ravel(), weights=truth[:, :256].ravel(), minlength=4096)
pixels = np.bincount(shades[:, :256].ravel(), minlength=4096)
by_colour = (glands > pixels / 2)[shades].astype(np.uint8)

segment, _ = learn(image[:, :256], mask[:, :256], "--epochs 6")
by_network = segment(image)


def gland_iou(classes):
    return iou(confusion_matrix(truth[:, 256:], classes[:, 256:], classes=2))[1]


fact("IoU by the colour of a pixel", gland_iou(by_colour), stated=0.935, within=0.004)
measured("IoU by 14×14 pixels", gland_iou(by_network), stated=0.97, within=0.012)

# %%
figure, panels = canvas(columns=3, height=3.4)
crop = np.s_[300:460, 300:460]
grey = np.repeat(image[crop].mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
for axes, classes, title in zip(panels, (truth, by_colour, by_network), ("the tissue", "colour alone", "14×14 pixels")):
    wrong = classes[crop] != truth[crop]
    axes.imshow(np.where(wrong[:, :, None], np.uint8([213, 94, 0]), image[crop] if classes is truth else grey))
    axes.set(title=title, xticks=[], yticks=[])
for y, x in (50, 34), (118, 60), (92, 120):
    panels[0].add_patch(Rectangle((x, y), 14, 14, fill=False, edgecolor="black", linewidth=3))
figure.supxlabel("squares: what one pixel sees; orange: wrong", color=ORANGE)
show(figure, "1")

# %% [markdown]
# **What to see.** Colour alone (middle) misses the blue nuclei *inside* the gland: they have the colour of those
# outside. With 14×14 pixels (right) the network sees the brown around a nucleus; only the border stays uncertain.
#
# **Answer.** A pixel of the mask depends on **14×14** pixels. That lifts the IoU from **0.935**, colour alone, to
# **0.97**: less than half of the mistakes are left.
#
# ## Exercises
#
# Change the project's files, then run the cell below the task. It looks at the files as they are at that moment. If you
# know Git, `git checkout model.py` takes a change back; else keep a copy. Take it back before the next chapter, whose
# numbers are those of the files as they were.
#
# **1.1** Let the network see 18 columns without a single weight more. (`model.py`, class `FCN`. A convolution can leave
# gaps between the pixels it adds up: look up `dilation` in PyTorch's `Conv2d`. Leave the last convolution as it is:
# chapter 3 shows what else is made of its weights. The output must keep the image's size. And the halo must again be
# the smallest even number that is no less than what a pixel sees to one side.)

# %%
check("1.1")

# %% [markdown]
# **1.2** `python -m tools.show network` prints what each layer sees, by arithmetic. Run it after solving 1.1: it is
# wrong, as it knows nothing of gaps. Mend it. (`tools/show.py`, `summary`.)

# %%
check("1.2")
