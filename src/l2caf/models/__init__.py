"""A network by name, with its weights and what it wants to be fed."""

from l2caf.models import sources as sources  # enters them
from l2caf.models.card import ModelCard as ModelCard
from l2caf.models.resolve import load as load
from l2caf.models.resolve import names as names
from l2caf.models.retrieval import Embedder as Embedder
from l2caf.models.source import LoadedModel as LoadedModel
