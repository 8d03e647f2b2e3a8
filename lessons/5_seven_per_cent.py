# %% [markdown]
# # 5. Seven per cent
#
# Often what one looks for is rare. Here it is the blue *nuclei* outside the glands: 7 % of the photograph.
#
# **Question.** The *loss* is the number that training makes small, and there are several to choose from. What does each
# of them make of a rare class?
#
# **Predict first.** A network says "no nucleus" everywhere. How accurate is it? Then: if in training all nucleus pixels
# together count as much as all others together, will the network find more nuclei, too many, or the same?

# %%
import sys

sys.path.extend(["..", "."])     # the project's folder, as this is opened in it or in lessons/

import numpy as np
from scipy.special import expit
from skimage import color, filters

from lessons import BLUE, GREY, ORANGE, SKY, canvas, check, fact, learn, measured, show
from metrics import accuracy, confusion_matrix, iou, precision, recall
from support.sample import sample

image, glands = sample()                                 # uint8 (512, 512, 3), and (512, 512) of 0 and 255
blue = filters.gaussian(color.rgb2hed(image)[:, :, 0], sigma=1)      # how much of the blue stain there is
truth = ((blue > 0.027) & (glands == 0)).astype(np.uint8)            # class 1: a nucleus outside the glands
learnt, tested = np.s_[:, :256], np.s_[:, 256:]          # the left half to learn from, the right half to test on

nothing = confusion_matrix(truth, np.zeros_like(truth), classes=2)
fact("share of nuclei", truth.mean(), stated=0.071, within=0.002)
fact("accuracy of no nuclei at all", accuracy(nothing), stated=0.929, within=0.002)
fact("share of nuclei in the left half", truth[learnt].mean(), stated=0.045, within=0.002)
fact("share of nuclei in the right half", truth[tested].mean(), stated=0.097, within=0.002)
fact("IoU of no nuclei at all", iou(nothing)[1], stated=0)

# %% [markdown]
# So a mask without any nucleus is right for **93 %** of the pixels, and worthless. Its *IoU* says so: pixels that are
# nucleus in both masks, divided by those that are in at least one. Never believe an accuracy without knowing how common
# each class is: in the left half 4.5 % of the pixels are nuclei, in the right half 9.7 %.
#
# **Experiment.** The same network learns from the left half four times, with four losses (they are in `losses.py`):
#
# - *cross-entropy*, −log p, where p is the probability that the network gives to the true class;
# - the same, *weighted*, so that all nuclei together count as much as all the rest;
# - *focal*, −(1 − p)² log p: pixels that are already right hardly count;
# - *Dice*, 1 − 2 · overlap / (size of the mask + size of the truth), of all pixels at once, p being the mask.
#
# We ask each for the probability of a nucleus at each pixel of the right half. A network says a number for each class,
# its *logits*; *softmax*, exp(l) divided by the sum of exp over the classes, makes probabilities of them.

# %%
LOSSES = {"cross-entropy": "--loss ce", "weighted": "--loss ce --class-weights 1", "focal": "--loss focal",
          "Dice": "--loss dice"}
there = truth[tested]
probability, ious, precisions, recalls = {}, {}, {}, {}
for name, options in LOSSES.items():
    segment, _ = learn(image[learnt], 255 * truth[learnt], f"--epochs 4 --balance 0 {options}")
    logits = segment.logits(image[tested])                           # (2, 512, 256)
    probability[name] = expit(logits[1] - logits[0])     # (512, 256), the softmax exp(l1) / (exp(l0) + exp(l1))
    confusion = confusion_matrix(there, (probability[name] > 0.5).astype(np.uint8), classes=2)
    ious[name], precisions[name], recalls[name] = (metric(confusion)[1] or 0 for metric in (iou, precision, recall))
    print(f"{name:<14} precision {precisions[name]:.2f}, recall {recalls[name]:.2f}, IoU {ious[name]:.2f}")

measured("IoU, cross-entropy", ious["cross-entropy"], stated=0.81, within=0.05)
measured("IoU, weighted", ious["weighted"], stated=0.62, within=0.08)
measured("IoU, focal", ious["focal"], stated=0.83, within=0.05)
measured("IoU, Dice", ious["Dice"], stated=0.81, within=0.05)
measured("precision, cross-entropy", precisions["cross-entropy"], stated=0.92, within=0.05)
measured("precision, weighted", precisions["weighted"], stated=0.62, within=0.08)
measured("recall, weighted", recalls["weighted"], stated=0.99, within=0.01)

# %% [markdown]
# *Precision*: of what it calls nucleus, so much is. *Recall*: of the nuclei, so much was found. Weighted, it finds
# nearly all, and four in ten of what it calls nuclei are not. Did it learn less? Where it learned, which is the left
# half without the strip that is held out, 4.2 % are nuclei: 23 other pixels for each. So the weights have multiplied
# the odds of a nucleus, p / (1 − p), by 23: where p should be a half, odds of 1, it is now 23/24, or 0.96. Take that as
# the *threshold*, in place of a half:

# %%
sure = confusion_matrix(there, (probability["weighted"] > 0.96).astype(np.uint8), classes=2)
measured("IoU, weighted, where p is above 0.96", iou(sure)[1] or 0, stated=0.82, within=0.05)

# %% [markdown]
# It knew as much as the unweighted one. Weights move the threshold; they do not add knowledge. Is a probability of 0.7
# then right in 70 % of the cases? Such a network is called *calibrated*. Collect all pixels with probabilities near 0.7
# and count:


# %%
def share_of_nuclei(p, least, most):
    """Return (mean probability, true share of nuclei) of the pixels with probabilities in this range."""
    chosen = (p >= least) & (p < most)
    return (p[chosen].mean(), there[chosen].mean()) if chosen.any() else (np.nan, np.nan)


figure, axes = canvas(height=5.6)
axes.plot([0, 1], [0, 1], color=GREY, linestyle=":")
for (name, p), colour, marker in zip(probability.items(), (BLUE, ORANGE, "black", SKY), "os^D"):
    points = np.array([share_of_nuclei(p, least, least + 0.1) for least in np.arange(0, 1, 0.1)])
    axes.plot(*points.T, color=colour, marker=marker, markersize=9, label=name)
axes.set(xlabel="the network says: a nucleus with probability …", ylabel="… and how often it is one",
         xlim=(0, 1), ylim=(0, 1))
axes.legend(frameon=False, loc="upper left")
show(figure, "5")

for name, stated, within in ("cross-entropy", 0.71, 0.08), ("focal", 0.89, 0.08), ("weighted", 0.05, 0.05):
    _, nuclei = share_of_nuclei(probability[name], 0.6, 0.7)
    measured(f"of the pixels near 0.65, nuclei, {name}", nuclei, stated, within)

# %% [markdown]
# **What to see.** On the dotted line, probabilities are true. Cross-entropy lies nearest. Dice promises a little too
# much. Focal, which stops caring once a pixel is fairly right, is too modest: what it calls 0.65 is a nucleus nine
# times in ten. The weighted one promises far too much: what it calls 0.65 is a nucleus once in twenty.
#
# **Answer.** No nuclei at all: accuracy **0.93**, IoU **0**. Cross-entropy rewards true probabilities: IoU **0.81**.
# Weights buy recall 0.99 with precision **0.62**, and a threshold of 0.96 undoes it: IoU **0.82**. Focal rewards being
# right about hard pixels, Dice the overlap itself: 0.83 and 0.81, which a single run cannot tell apart (chapter 8).
#
# The project has a knob that looks alike: `--balance 0.5` *draws* half of the patches around a pixel of a class drawn
# evenly, so that a rare class is seen at all. That, too, moves probabilities, but little here, as nuclei fill only a
# part of each patch.
#
# ## Exercises
#
# **5.1** Predictions take the class with the higher logit, which is a threshold of 0.5. Missing a nucleus is now worse
# than inventing one: of two classes, let `likeliest` (in `patches.py`) say class 1 wherever its probability is above
# 0.3. (With two logits, p is above 0.3 where their difference is above log(0.3 / 0.7).)

# %%
check("5.1")

# %% [markdown]
# **5.2** Add `balanced_accuracy` to `metrics.py`: the mean of the recall of each class that occurs. What does a mask
# without nuclei get?

# %%
check("5.2")
