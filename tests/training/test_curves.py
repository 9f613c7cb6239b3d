"""The log of a run, and its picture."""

from pathlib import Path

from PIL import Image

from l2caf.training import curves


def test_a_log_is_read_up_to_a_step_and_without_the_line_that_was_cut_off(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        curves.append(tmp_path, {"step": step, "loss": 1 / step})
    with (tmp_path / curves.LOG).open("a") as stream:
        stream.write('{"step": 2, "lo')
    assert curves.read_log(tmp_path, until=2) == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]
    curves.write_log(tmp_path, curves.read_log(tmp_path, until=1))
    assert curves.read_log(tmp_path, until=9) == [{"step": 1, "loss": 1.0}]
    assert curves.read_log(tmp_path / "elsewhere", until=9) == []


def test_every_figure_but_time_and_step_has_a_diagram(tmp_path: Path) -> None:
    curves.draw(tmp_path, [{"step": 1, "loss": 1.0, "seconds": 2.0}, {"step": 2, "epoch": 1.0, "top1_error": 0.5}])
    with Image.open(tmp_path / curves.PICTURE) as picture:
        assert picture.size == (800, 300)  # two diagrams of 4 x 3 inches
