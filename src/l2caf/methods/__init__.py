"""Methods that find maps: ours, the baselines it is compared with, and those of other libraries, in one table.

CAM, Grad-CAM and Grad-CAM-abs are classes with the interface of `L2CAF`, too.
"""

from l2caf.methods import acol as acol
from l2caf.methods import fixed as fixed
from l2caf.methods import ours as ours
from l2caf.methods import peers as peers
from l2caf.methods.cams import CAM as CAM
from l2caf.methods.cams import ClassMap as ClassMap
from l2caf.methods.cams import GradCAM as GradCAM
from l2caf.methods.cams import GradCAMAbs as GradCAMAbs
from l2caf.methods.cams import baseline as baseline
from l2caf.methods.registry import METHODS as METHODS
from l2caf.methods.registry import Factory as Factory
from l2caf.methods.registry import Maps as Maps
from l2caf.methods.registry import Method as Method
from l2caf.methods.registry import OfClass as OfClass
from l2caf.methods.registry import OfOutput as OfOutput
from l2caf.methods.registry import make as make
from l2caf.methods.registry import methods as methods
