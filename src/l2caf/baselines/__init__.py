"""What L2-CAF is compared with, in the same call shape: CAM, Grad-CAM and Grad-CAM-abs."""

from l2caf.baselines.cams import CAM as CAM
from l2caf.baselines.cams import ClassMap as ClassMap
from l2caf.baselines.cams import GradCAM as GradCAM
from l2caf.baselines.cams import GradCAMAbs as GradCAMAbs
