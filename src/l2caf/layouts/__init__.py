"""Where space is in a feature map.

A filter has one weight per position of a grid; a feature map may keep that grid behind the channels, before
them, or flattened into a row of tokens with class and register tokens in front. The layout is found by
comparing the map's shape with the input's spatial size: a grid is the input divided by one stride. A network
that fuses frames keeps one such map per frame, along an axis of its own or folded into the batch.
"""

from l2caf.layouts.base import FrameOrder as FrameOrder
from l2caf.layouts.base import Layout as Layout
from l2caf.layouts.frames import Frames as Frames
from l2caf.layouts.grids import LAYOUTS as LAYOUTS
from l2caf.layouts.grids import ChannelsFirst as ChannelsFirst
from l2caf.layouts.grids import ChannelsLast as ChannelsLast
from l2caf.layouts.grids import Tokens as Tokens
from l2caf.layouts.infer import FindLayout as FindLayout
from l2caf.layouts.infer import LayoutChoice as LayoutChoice
from l2caf.layouts.infer import LayoutFinder as LayoutFinder
from l2caf.layouts.infer import given_layout as given_layout
from l2caf.layouts.infer import infer_frames as infer_frames
from l2caf.layouts.infer import infer_layout as infer_layout
