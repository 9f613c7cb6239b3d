"""Localisation: from maps to boxes, by named protocols, and how good the boxes are.

`l2caf.evaluation.metrics` holds the metrics; it needs the extra `localization`.
"""

from l2caf.evaluation.boxes import boxes as boxes
from l2caf.evaluation.frame import Boxes as Boxes
from l2caf.evaluation.frame import Frame as Frame
from l2caf.evaluation.frame import iou as iou
from l2caf.evaluation.protocols import PROTOCOLS as PROTOCOLS
from l2caf.evaluation.protocols import BoxRule as BoxRule
from l2caf.evaluation.protocols import protocol as protocol
