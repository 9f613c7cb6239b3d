"""Training that can be interrupted: any network, any loss, exactly resumable. Needs the extra `train`."""

from l2caf.training.feed import Feed as Feed
from l2caf.training.loop import Result as Result
from l2caf.training.loop import Task as Task
from l2caf.training.loop import fit as fit
from l2caf.training.options import Options as Options
from l2caf.training.options import Precision as Precision
