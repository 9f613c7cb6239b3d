"""What L2-CAF is compared with, in the same call shape: CAM, Grad-CAM and Grad-CAM-abs."""

from l2caf.methods.cams import CAM as CAM
from l2caf.methods.cams import ClassMap as ClassMap
from l2caf.methods.cams import GradCAM as GradCAM
from l2caf.methods.cams import GradCAMAbs as GradCAMAbs
