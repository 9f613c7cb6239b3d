"""What a user calls and what it returns; the only place that wires tail, objective, constraint and solver."""

from l2caf.attention.caf import L2CAF as L2CAF
from l2caf.attention.cut import Cut as Cut
from l2caf.attention.discovery import LayerInfo as LayerInfo
from l2caf.attention.evidence import Evidence as Evidence
from l2caf.attention.evidence import Trace as Trace
from l2caf.attention.following import Locality as Locality
from l2caf.attention.output import over_region as over_region
from l2caf.attention.question import Question as Question
from l2caf.attention.result import Attention as Attention
