"""Retrieval: neighbours in an embedding, how good the embedding is, and what makes two pictures neighbours.

`l2caf.retrieval.losses` holds what it is trained with; it needs the extra `retrieval`.
"""

from l2caf.retrieval.attention import PairAttention as PairAttention
from l2caf.retrieval.attention import group as group
from l2caf.retrieval.attention import pair as pair
from l2caf.retrieval.metrics import clusters as clusters
from l2caf.retrieval.metrics import is_collapsed as is_collapsed
from l2caf.retrieval.metrics import nmi as nmi
from l2caf.retrieval.metrics import normalised_information as normalised_information
from l2caf.retrieval.metrics import recall_at as recall_at
from l2caf.retrieval.search import Gallery as Gallery
from l2caf.retrieval.search import Neighbours as Neighbours
from l2caf.retrieval.search import nearest as nearest
