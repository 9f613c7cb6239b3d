"""From the attention of clips to maps of their frames."""

from l2caf.video.maps import frame_maps as frame_maps
from l2caf.video.maps import frame_shares as frame_shares
