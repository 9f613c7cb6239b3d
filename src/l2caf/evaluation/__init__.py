"""Localisation: from maps to boxes, by named protocols, and how good maps and boxes are.

`METRICS` names the metrics of maps; those that come with l2caf are in `l2caf.evaluation.metrics`, which needs the extra
`localization`.
"""

from l2caf.evaluation.boxes import boxes as boxes
from l2caf.evaluation.frame import Boxes as Boxes
from l2caf.evaluation.frame import InputFrame as InputFrame
from l2caf.evaluation.frame import iou as iou
from l2caf.evaluation.protocols import PROTOCOLS as PROTOCOLS
from l2caf.evaluation.protocols import BoxRule as BoxRule
from l2caf.evaluation.table import DEFAULT_METRICS as DEFAULT_METRICS
from l2caf.evaluation.table import METRICS as METRICS
from l2caf.evaluation.table import JudgedMap as JudgedMap
from l2caf.evaluation.table import MapMetric as MapMetric
from l2caf.evaluation.table import MetricContext as MetricContext
