# %% [markdown]
# # 4. Learning from one image
#
# *Training* shows a network small squares of an image, *patches*, with their masks, and each time changes its weights a
# little, so that the *loss*, a number that says how wrong it was, becomes smaller.
#
# **Question.** How do you notice that it learns its patches by heart, when there is only one image?
#
# **Predict first.** A network of 121,000 weights learns from 160×64 pixels; a strip nearby is held out. The loss here
# is −log p, where p is the probability that the network gives to the true class: 0 is perfect, and p = ½ everywhere
# makes log 2 = 0.69. How low does it become, and how low on that strip? And if all colours are changed a little at
# random during training, is it better or worse on a photograph that is a little brighter?

# %%
import sys

sys.path.extend(["..", "."])     # the project's folder, as this is opened in it or in lessons/

import numpy as np
import torch

from data import hold_out
from lessons import BLUE, GREY, ORANGE, canvas, check, fact, learn, measured, show
from metrics import confusion_matrix, iou
from optimizer import AdamW
from support.sample import sample

image, mask = sample()                                   # uint8 (512, 512, 3), and (512, 512) of 0 and 255

# %% [markdown]
# **A strip is held out.** `train.py` cuts a strip out of the image, to *validate* on: it does not learn from it. Nor
# from the 8 rows on either side of it, the halo of the FCN: neighbours are alike, and what is easy there would flatter.
# (Here the strip lies in the middle, so that two parts are left to learn from.)

# %%
training, [(strip, _)] = hold_out(image, mask // 255, least=64, gap=8, share=0.2)
fact("rows to learn from", sum(len(part) for part, _ in training), stated=394)
fact("rows of the strip", len(strip), stated=102)
fact("rows in neither", 512 - len(strip) - sum(len(part) for part, _ in training), stated=16)

# %% [markdown]
# **A step.** The *gradient* says how the loss changes with each weight; a step goes against it. But how far? Gradients
# of two weights may differ by a factor of a million. *AdamW* (`optimizer.py`) divides each by its usual size, so that
# both weights move equally far, by the *learning rate* `lr`:

# %%
weights = torch.ones(2, requires_grad=True)
optimizer = AdamW([weights], lr=0.01, weight_decay=0)
(1000 * weights[0] + 0.001 * weights[1]).backward()      # a loss: its gradient is (1000, 0.001)
optimizer.step()
fact("how far a weight goes whose gradient is 1000", 1 - weights[0].item(), stated=0.01, within=1e-6)
fact("how far a weight goes whose gradient is 0.001", 1 - weights[1].item(), stated=0.01, within=1e-6)

# %% [markdown]
# **Experiment.** A U-Net, a larger network (chapter 6), learns from a scrap of the photograph, from its patches as
# they are, without any change of light or direction. Rows 112 to 143 of the scrap are held out. Its halo is 48 rows,
# so it learns from the 64 rows above that; the 16 rows below the strip lie within the halo. After each *epoch*, here
# 25 steps, its loss on the strip is taken. (Two helpers are off: the average of chapter 6, `ema`, and the `balance`
# of classes.)

# %%
scrap = np.s_[150:310, 0:160]
_, history = learn(image[scrap], mask[scrap], "--model unet --width 8 --patch 32 --epochs 12 --steps 25 --ema 0 "
                                              "--balance 0 --flips none --jitter 0")
on_patches, on_strip = ([row[column] for row in history] for column in ("train_loss", "val_loss"))
measured("loss on the patches", on_patches[-1], stated=0.02, within=0.01)
measured("loss on the strip", on_strip[-1], stated=1.6, within=0.5)
fact("loss of calling both classes equally likely everywhere", np.log(2), stated=0.69, within=0.005)

# %%
figure, axes = canvas(height=4.6)
for losses, colour, name in (on_patches, ORANGE, "on its patches"), (on_strip, BLUE, "on the strip"):
    axes.plot(range(1, len(losses) + 1), losses, colour, marker="o", markersize=8)
    axes.annotate(name, (len(losses), losses[-1]), (0, 12), textcoords="offset points", color=colour, ha="right")
axes.axhline(np.log(2), color=GREY, linestyle=":")
axes.text(len(losses), 0.6, "both classes equally likely", color=GREY, ha="right", va="top")
axes.set(yscale="log", ylim=(0.004, 4), xlabel="epoch (of 25 steps)", ylabel="loss", title="Learned by heart")
axes.set_yticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
axes.spines[["top", "right"]].set_visible(False)
show(figure, "4")

# %% [markdown]
# **What to see.** The orange line falls, the blue one, of the strip, rises: what is learned then holds for these
# patches only. This is *over-fitting*, and the gap between the lines shows it. On the strip the network ends up worse
# than one that calls both classes equally likely everywhere, whose loss is **0.69** (dotted): it is often wrong there,
# and sure of it. Flips, turns and changes of light make more patches out of few, and so does a larger image.
#
# **The next image** is another test. It is never lit quite as the one that was learned from. So here is the right half
# of the photograph, unseen, as it is and 15 % brighter and darker, for the FCN with and without *jitter* of the light:

# %%
unseen, truth = image[:, 256:], mask[:, 256:] // 255
relit = [(unseen * light).clip(0, 255).astype(np.uint8) for light in (1.15, 0.85)]
score = {}
for jitter in (0, 0.2):
    segment, _ = learn(image[:, :256], mask[:, :256], f"--epochs 6 --jitter {jitter}")
    figures = [iou(confusion_matrix(truth, segment(each), classes=2))[1] or 0.0 for each in (unseen, *relit)]
    score[jitter] = figures[0], np.mean(figures[1:])
    print(f"jitter {jitter}: IoU {score[jitter][0]:.3f} as it is, {score[jitter][1]:.3f} in another light")
measured("IoU as it is, no jitter", score[0][0], stated=0.969, within=0.01)
measured("IoU as it is, jitter 0.2", score[0.2][0], stated=0.968, within=0.012)
measured("IoU in another light, no jitter", score[0][1], stated=0.88, within=0.04)
measured("IoU in another light, jitter 0.2", score[0.2][1], stated=0.94, within=0.025)

# %% [markdown]
# Jitter is a trade-off: in another light the IoU rises from **0.88** to **0.94**, but where colour is the
# signal, as with green plants on a field, much jitter costs:
# [measured](../docs/RESULTS.md#what-was-tried-and-left-as-it-is). (Predictions can also
# [undo](../docs/TRAINING.md#the-next-image) another light, and do so unless `--light keep` says not to, as in these
# lessons.)
#
# **Why one image has no epoch.** With many images, an *epoch* is the time in which each was seen once. One photograph
# of 512×512 pixels has

# %%
patches = (512 - 64 + 1) ** 2 * 8                        # places for a patch of 64×64, and eight ways to lay it
fact("different patches", patches, stated=1_612_808)
fact("share of them that an epoch of 50 steps of 16 patches shows", 50 * 16 / patches, stated=0.0005, within=1e-5)

# %% [markdown]
# so an "epoch" is whatever you call one: here 50 steps, after which the strip is looked at.
#
# **Answer.** Hold a strip out, a halo apart, and watch the two losses part: **0.02** on the patches, **1.6** on the
# strip, eighty times as much.
#
# ## Exercises
#
# **4.1** You know that your microscope's lamp changes, but never the contrast. Let `photometric_jitter` (in
# `patches.py`) change light and tint only. What multiplies a pixel is called gain, what is added to it, offset.

# %%
check("4.1")

# %% [markdown]
# **4.2** Of the last epochs, `train.py` keeps the weights of the one with the best IoU, a mean of that on the strip and
# that on copies of it in another light, focus and size. Keep those with the lowest loss on the strip. (`quality`, in
# `train.py`, is what epochs are compared by.)

# %%
check("4.2")
