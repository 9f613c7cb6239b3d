"""A network by name, with its weights and what it wants to be fed."""

from l2caf.models.card import ModelCard as ModelCard
from l2caf.models.retrieval import Embedder as Embedder
from l2caf.models.zoo import LoadedModel as LoadedModel
from l2caf.models.zoo import load as load
from l2caf.models.zoo import names as names
