"""The tail of a network: what only runs after one layer, replayed without the rest."""

from l2caf.tail.place import Slots as Slots
from l2caf.tail.proof import cut as cut
from l2caf.tail.proof import prove_rows_apart as prove_rows_apart
from l2caf.tail.record import dependents as dependents
from l2caf.tail.record import record as record
from l2caf.tail.replay import Keep as Keep
from l2caf.tail.replay import Tail as Tail
from l2caf.tail.response import AffineResponse as AffineResponse
from l2caf.tail.response import is_affine as is_affine
from l2caf.tail.response import is_odd as is_odd
from l2caf.tail.response import is_straight as is_straight
from l2caf.tail.rows import row_axes as row_axes
from l2caf.tail.rows import with_shared as with_shared
from l2caf.tail.script import Inputs as Inputs
from l2caf.tail.script import LayerCalls as LayerCalls
from l2caf.tail.script import Recording as Recording
from l2caf.tail.script import is_picture as is_picture
