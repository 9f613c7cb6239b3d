"""What L2-CAF is compared with, in the same call shape: CAM and Grad-CAM."""

from l2caf.baselines.cams import CAM as CAM
from l2caf.baselines.cams import GradCAM as GradCAM
