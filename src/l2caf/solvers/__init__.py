"""One algorithm a file; each takes a problem and returns a `Solution`. None knows a network."""

from l2caf.solvers.cosine import CosineExact as CosineExact
from l2caf.solvers.descent import Descent as Descent
from l2caf.solvers.exact import Exact as Exact
from l2caf.solvers.quasi_newton import QuasiNewton as QuasiNewton
from l2caf.solvers.solution import Certificate as Certificate
from l2caf.solvers.solution import Solution as Solution
from l2caf.solvers.solution import merged as merged
from l2caf.solvers.two_sided import TwoSidedExact as TwoSidedExact
