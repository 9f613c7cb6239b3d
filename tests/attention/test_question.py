from pathlib import Path

import torch
from tests.support import networks
from torch import nn

from l2caf import L2CAF, ClassSpecific, Oblivious, QuasiNewton, Similar, UnitL2
from l2caf.attention.question import described


def test_a_result_says_what_was_asked() -> None:
    model, x = networks.gap(), networks.pictures(2)
    asked = L2CAF(model, "0", objective=ClassSpecific("mean"), constraint=UnitL2(nonnegative=True))(x, [1]).question
    assert (asked.layer, asked.layout, asked.part, asked.runs) == ("0", "channels-first", 0, None)
    assert (asked.objective, asked.constraint) == ("ClassSpecific(others='mean')", "l2, nonnegative")
    assert (asked.solver, asked.output, asked.until) == ("auto", None, None)
    assert asked.versions["torch"] == torch.__version__
    other = L2CAF(model, solver=QuasiNewton(seeds=3), output=first_of, until="2")(x).question
    assert "seeds=3" in other.solver
    assert (other.output, other.until) == ("first_of", "2")


def first_of(output: torch.Tensor) -> torch.Tensor:
    return output.flatten(1)


def test_results_of_different_questions_save_different_manifests(tmp_path: Path) -> None:
    model, x = networks.gap(), networks.pictures(1)
    for name, objective in (("all", Oblivious()), ("one", Oblivious(top=1))):
        L2CAF(model, objective=objective)(x).save(tmp_path / name)
    texts = [(tmp_path / name / "manifest.json").read_text(encoding="utf-8") for name in ("all", "one")]
    assert "Oblivious(top=1)" in texts[1]
    assert texts[0] == texts[1].replace("top=1", "top=None")


def test_options_are_described_by_what_they_are_and_not_by_what_they_hold() -> None:
    assert described(Similar(torch.zeros(2, 1, 4))) == "Similar(partners=tensor (2, 1, 4), measure='cosine')"
    assert described("auto") == "auto"
    assert described(("a", 1)) == "('a', 1)"
    assert described(nn.Linear(2, 2)) == "Linear"
