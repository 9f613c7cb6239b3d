"""Localisation: from maps to boxes, by named protocols, and how good the boxes are.

`l2caf.localization.metrics` holds the metrics; it needs the extra `localization`.
"""

from l2caf.localization.boxes import boxes as boxes
from l2caf.localization.frame import Boxes as Boxes
from l2caf.localization.frame import Frame as Frame
from l2caf.localization.frame import iou as iou
from l2caf.localization.protocols import PROTOCOLS as PROTOCOLS
from l2caf.localization.protocols import BoxRule as BoxRule
from l2caf.localization.protocols import protocol as protocol
