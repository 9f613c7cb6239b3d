"""Networks fine-tuned for weakly supervised localisation, as in the paper's Table 2.

A trunk with a last grid of 14 x 14 (VGG16, SE-ResNet50, GoogLeNet at 224 x 224, the package's own at 112 x 112) under
one of three trainings: `gap` (Zhou et al. 2016), `adl` (Choe and Shim 2019), `acol` (Zhang et al. 2018).
"""

from l2caf.models.wsol.acol import ACoL as ACoL
from l2caf.models.wsol.adl import ADL as ADL
from l2caf.models.wsol.networks import GapNet as GapNet
from l2caf.models.wsol.networks import build as build
from l2caf.models.wsol.networks import card as card
from l2caf.models.wsol.networks import names as names
