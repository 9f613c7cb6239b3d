"""Where space is in a feature map.

A filter has one weight per position of a grid; a feature map may keep that grid behind the channels, before
them, in windows, or flattened into a row of tokens with class, register or text tokens around it. A network
that fuses frames keeps one such map per frame, along an axis of its own or folded into the batch. Shapes propose
layouts: a grid is the input divided by one stride. Which of them a map has is measured (`l2caf.attention.locality`).
"""

from l2caf.layouts.base import FrameOrder as FrameOrder
from l2caf.layouts.base import Layout as Layout
from l2caf.layouts.choice import FindLayout as FindLayout
from l2caf.layouts.choice import LayoutChoice as LayoutChoice
from l2caf.layouts.choice import given_layout as given_layout
from l2caf.layouts.frames import Frames as Frames
from l2caf.layouts.grids import LAYOUTS as LAYOUTS
from l2caf.layouts.grids import Axes as Axes
from l2caf.layouts.grids import ChannelsFirst as ChannelsFirst
from l2caf.layouts.grids import ChannelsLast as ChannelsLast
from l2caf.layouts.grids import Tokens as Tokens
from l2caf.layouts.propose import Proposal as Proposal
from l2caf.layouts.propose import Row as Row
from l2caf.layouts.propose import given_proposals as given_proposals
from l2caf.layouts.propose import likeliest_layout as likeliest_layout
from l2caf.layouts.propose import proposals as proposals
from l2caf.layouts.space import Space as Space
from l2caf.layouts.space import spaces as spaces
from l2caf.layouts.windows import WindowRows as WindowRows
from l2caf.layouts.windows import Windows as Windows
