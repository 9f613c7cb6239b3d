"""One algorithm a file: a problem, a constraint and starts go in, a `Solution` comes out. None knows a network."""

from l2caf.solvers.best_so_far import BestSoFar as BestSoFar
from l2caf.solvers.cosine import CosineExact as CosineExact
from l2caf.solvers.descent import Descent as Descent
from l2caf.solvers.lbfgs import LBFGS as LBFGS
from l2caf.solvers.linear import LinearExact as LinearExact
from l2caf.solvers.quadratic import QuadraticExact as QuadraticExact
from l2caf.solvers.quasi_newton import QuasiNewton as QuasiNewton
from l2caf.solvers.race import Race as Race
from l2caf.solvers.several_starts import SeveralStarts as SeveralStarts
from l2caf.solvers.solution import Certificate as Certificate
from l2caf.solvers.solution import Solution as Solution
from l2caf.solvers.solution import merged as merged
from l2caf.solvers.solver import Solver as Solver
from l2caf.solvers.solver import takes as takes
from l2caf.solvers.spanned import SpannedExact as SpannedExact
from l2caf.solvers.table import BY_KIND as BY_KIND
from l2caf.solvers.table import SOLVERS as SOLVERS
from l2caf.solvers.table import ByKind as ByKind
from l2caf.solvers.table import named_solver as named_solver
from l2caf.solvers.two_sided import TwoSidedExact as TwoSidedExact
