# %% [markdown]
# # 7. When the world changes
#
# A network knows the world it learned from. Then comes fog.
#
# **Question.** Does a network still see in weather that it has never met, and does it notice that it does not?
#
# **Predict first.** On a clear day our network's IoU is 0.97. How much is left in fog: 0.9, 0.6, 0.3? And which helps
# more: to have trained with noise and changed light, or to look at the foggy image once before judging it, without any
# mask?

# %%
import sys

sys.path.extend(["..", "."])     # the project's folder, as this is opened in it or in lessons/

import numpy as np

from challenges.cityscapes.corrupt import corrupt
from lessons import ORANGE, canvas, check, fact, learn, measured, show
from metrics import confusion_matrix, iou
from segmenter import Segmenter
from support import ood
from support.sample import sample

image, mask = sample()                                   # uint8 (512, 512, 3), and (512, 512) of 0 and 255
unseen, truth = image[:, 256:], mask[:, 256:] // 255     # the right half, to test on
worlds = {"clear": unseen, "fog": corrupt(unseen, "fog", 4), "rain": corrupt(unseen, "rain", 3)}
fact("brightness in fog", worlds["fog"].mean() / 255, stated=0.77, within=0.02)
fact("contrast in fog, as a share", worlds["fog"].std() / unseen.std(), stated=0.36, within=0.05)

# %% [markdown]
# **Experiment.** `corrupt` was made for street scenes: its fog thickens upwards, as if that were far away, its rain is
# bright streaks and less light. A U-Net learns from the clear left half.
#
# Between its layers stands *BatchNorm*: it subtracts from each channel its mean in training, and divides by its
# deviation. In fog, both are different. So before it judges an image, the network can look at it once, and take this
# image's own mean and deviation. No weight changes, and no mask is needed. That is `--adapt 1`.

# %%
small = "--model unet --width 8 --depth 2 --epochs 4"
usual, _ = learn(image[:, :256], mask[:, :256], f"{small} --jitter 0")
adapted = Segmenter(usual.network, usual.metadata, adapt=1.0)
hardened, _ = learn(image[:, :256], mask[:, :256], f"{small} --jitter 0.4 --noise 0.15")

score, shown = {}, {}
for weather, seen in worlds.items():
    for name, segment in ("usual", usual), ("adapted", adapted), ("hardened", hardened):
        shown[weather, name] = segment(seen)
        score[weather, name] = iou(confusion_matrix(truth, shown[weather, name], classes=2))[1] or 0.0
        print(f"{weather:<6} {name:<9} IoU {score[weather, name]:.2f}")
measured("IoU, clear", score["clear", "usual"], stated=0.97, within=0.015)
measured("IoU, clear, adapted", score["clear", "adapted"], stated=0.95, within=0.025)
measured("IoU, fog", score["fog", "usual"], stated=0.3, within=0.2)
measured("IoU, fog, adapted", score["fog", "adapted"], stated=0.94, within=0.025)
measured("IoU, rain", score["rain", "usual"], stated=0.5, within=0.25)
measured("IoU, rain, adapted", score["rain", "adapted"], stated=0.95, within=0.025)

# %%
figure, panels = canvas(columns=3, height=5.8)
for axes, (title, pixels) in zip(panels, {
        "in fog": worlds["fog"], "the mask,\nas trained": shown["fog", "usual"],
        "the mask,\nadapted": shown["fog", "adapted"]}.items()):
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255 if pixels.ndim == 3 else 1)
    axes.set(title=title, xticks=[], yticks=[])
    if pixels.ndim == 2:
        axes.contour(truth, levels=[0.5], colors=ORANGE, linewidths=2)
figure.supxlabel("orange: the true border", color=ORANGE)
show(figure, "7")

# %% [markdown]
# **What to see.** In fog the network as trained loses the glands. The same network with the image's own statistics
# finds them. On a clear day adapting costs a little, and on other data it may cost much: an image that shows one class
# only has odd statistics of its own. [Measured](../challenges/cityscapes/REPORT.md) on streets.
#
# **To know when not to know.** The network gives every pixel a class, even of a cup of coffee. Two scores of
# `support/ood.py` say how familiar an image looks: the *softmax score*, how high the highest probability is, and
# *energy*, how high the logits are. *AUROC* is the chance that a clear image looks more familiar than a foggy one: 1
# is perfect, 0.5 is a coin.


# %%
def noticed(segment, weather, name):
    """Return the AUROC of a score, over eight squares of the clear image and the same eight in this weather."""
    familiar, others = ([segment.with_scores(each[y:y + 128, x:x + 128], [name])[1][name]
                         for y in range(0, 512, 128) for x in (0, 128)] for each in (worlds["clear"], worlds[weather]))
    return ood.auroc(np.array(familiar), np.array(others))


notice = {}
for weather in ("fog", "rain"):
    for name in ("softmax", "energy"):
        notice[weather, name] = noticed(usual, weather, name)
        print(f"{weather}, by {name}: AUROC {notice[weather, name]:.2f}")
measured("AUROC of energy, rain", notice["rain", "energy"], stated=0.97, within=0.08)
measured("AUROC of energy, fog", notice["fog", "energy"], stated=0.42, within=0.3)
measured("AUROC of softmax, fog", notice["fog", "softmax"], stated=1.0, within=0.1)
measured("AUROC of softmax, rain", notice["rain", "softmax"], stated=0.1, within=0.25)

# %% [markdown]
# Energy notices the rain and finds fog no less familiar than the clear day. The softmax score notices fog, but an
# AUROC far below 0.5 is worse than a coin: rain looks *more* familiar to it, as the network is surer there than on a
# clear day. (Of another seed's network it may be the other way round.) No score notices everything: choose it, and
# its threshold, on images of the kind that you fear (`python -m tools.thresholds`).
#
# **Robust is not the same as aware.** The hardened network learned with noise and much changed light:

# %%
blunted = noticed(hardened, "rain", "energy")
measured("IoU in rain, hardened", score["rain", "hardened"], stated=0.73, within=0.2)
measured("IoU in fog, hardened", score["fog", "hardened"], stated=0.02, within=0.25)
measured("AUROC of energy in rain, hardened", blunted, stated=0.61, within=0.28)

# %% [markdown]
# In rain it sees more than the usual network, and notices rain less: what it was taught to overlook, it overlooks. Fog
# is neither noise nor a mere change of light: there the training has even harmed.
#
# **Answer.** As trained, the IoU falls from **0.97** to **0.3** in fog and to **0.5** in rain. Adapted to each image,
# it is **0.94** and **0.95**, for **0.02** less on a clear day; hardened, it is 0.02 and 0.73. And the network notices
# rain by its energy, but not fog.
#
# ## Exercises
#
# **7.1** Add a kind of weather: `dusk`. It takes light away, of red more than of blue, and more with each severity.
# (`challenges/cityscapes/corrupt.py`: a function of an image from 0 to 1, severity and generator, and its place in
# `KINDS`.)

# %%
check("7.1")

# %% [markdown]
# **7.2** Add a score: `margin`, how much higher the highest logit is than the second. (`support/ood.py`, and `SCORES`
# in `support/arguments.py`, so that `infer.py --score margin` knows it.)

# %%
check("7.2")
