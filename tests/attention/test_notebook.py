import numpy as np

from l2caf import pictures
from l2caf.attention.notebook import table


def test_a_table_has_a_cell_for_each_picture_and_escapes_captions() -> None:
    dark, light = (np.full((2, 2, 3), value, np.uint8) for value in (0, 255))
    page = table([[(dark, "a <b>"), (light, "c & d")], [(dark, "e")]])
    assert (page.count("<tr>"), page.count("<td"), page.count("<img")) == (2, 3, 3)
    assert page.count("a &lt;b&gt;") == page.count("c &amp; d") == 2  # caption and alternative text
    assert page.count(pictures.png_uri(dark)) == 2
    assert page.count(pictures.png_uri(light)) == 1
