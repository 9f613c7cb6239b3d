"""Films, clips and volumes: frames or slices in, attention over time or depth out."""

from l2caf.video.job import Sampling as Sampling
from l2caf.video.job import explain_film as explain_film
from l2caf.video.maps import frame_maps as frame_maps
from l2caf.video.maps import frame_shares as frame_shares
from l2caf.video.volumes import explain_volume as explain_volume
from l2caf.video.volumes import scores_of_volume as scores_of_volume
