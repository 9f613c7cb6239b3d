"""The axis letters, once, and the shapes that several rooms share.

b  inputs of a batch            k  targets per input (1 when class-oblivious)
m  problems (b * k, flattened)  p  positions of the grid, flattened
c  channels of a feature map    n  components of the network's output
*grid  the spatial axes of the feature map (1, 2 or 3 of them), row-major
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor

Filters = Float[Tensor, "m p"]
Losses = Float[Tensor, " m"]
Rows = Int[Tensor, " m"]
Flags = Bool[Tensor, " m"]
Outputs = Float[Tensor, "b n"]
Targets = Int[Tensor, "b k"]
