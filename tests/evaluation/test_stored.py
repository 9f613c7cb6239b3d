"""What stage one stored is read back picture by picture."""

from pathlib import Path

import numpy as np

from l2caf import storage
from l2caf.data.boxed import BoxedSet, boxed_set
from l2caf.evaluation.stored import embeddings_of, read_maps


def stored(folder: Path, *, outputs: bool) -> BoxedSet:
    """Three pictures in two files of maps; the second picture could not be read."""
    files = [folder / f"{number}.png" for number in range(3)]
    for file in files:
        file.touch()
    boxed = boxed_set("mine", ("a", "b"), [(file, 0, [(0, 0, 2, 2)]) for file in files])
    (folder / "maps").mkdir()
    for first, numbers, skipped in ((0, [0], [1]), (2, [2], [])):
        heat = np.arange(12, dtype=np.float16).reshape(1, 3, 2, 2) + first
        arrays = {
            "skipped": np.array(skipped, dtype=np.int64), "reasons": np.array(["broken"] * len(skipped), dtype=np.str_),
            "numbers": np.array(numbers), "targets": np.array([[first, 7, 8, 9]]), "sizes": np.array([[40, 20]]),
            "regions": np.array([[10.0, 0.0, 30.0, 20.0]]), "map cam": heat,
        } | ({"outputs": np.array([[first, 1.5]], dtype=np.float32)} if outputs else {})  # fmt: skip
        storage.write_arrays(folder / "maps" / f"{first:06d}-{len(numbers) + len(skipped)}.npz", arrays)
    return boxed


def test_the_first_map_is_the_true_classs_and_the_others_those_of_the_guesses(tmp_path: Path) -> None:
    boxed = stored(tmp_path, outputs=False)
    skipped: list[tuple[str, str]] = []
    rows = list(read_maps(tmp_path, boxed, skipped))
    assert [row.number for row in rows] == [0, 2]
    assert skipped == [(str(boxed.pictures[1].file), "broken")]
    last = rows[1]
    assert last.picture is boxed.pictures[2]
    assert last.maps["cam"].tolist() == [[2, 3], [4, 5]]
    assert last.guessed["cam"].tolist() == [[[6, 7], [8, 9]], [[10, 11], [12, 13]]]
    assert last.targets.tolist() == [2, 7, 8, 9]
    assert (last.frame.picture, last.frame.region) == ((40, 20), (10, 0, 30, 20))
    assert last.is_classified
    assert embeddings_of(tmp_path) == {}


def test_the_outputs_of_an_embedding_are_read_without_its_maps(tmp_path: Path) -> None:
    boxed = stored(tmp_path, outputs=True)
    found = embeddings_of(tmp_path)
    assert {number: output.tolist() for number, output in found.items()} == {0: [0, 1.5], 2: [2, 1.5]}
    assert not any(row.is_classified for row in read_maps(tmp_path, boxed, []))
