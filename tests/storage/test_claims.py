"""A folder belongs to one run: who may take it up, who is refused, and in which words."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from l2caf import storage
from l2caf.errors import RunError, StorageError

MANIFEST = {"format": "l2caf.test/1", "layer": "layer3", "card": {"fit": "pad"}, "methods": ["cam", "l2caf"]}
CODE = """
import json, sys
from pathlib import Path
from l2caf import storage
from l2caf.errors import L2CAFError

folder, layer = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
try:
    with storage.claimed(folder, {"format": "l2caf.test/1", "layer": layer}, what="test", results="maps/*.npz") as mine:
        (folder / "maps").mkdir(exist_ok=True)
        (folder / "maps" / f"{layer}.npz").touch()
        print("mine", mine["layer"], flush=True)
        sys.stdin.readline()
except L2CAFError as error:
    print(type(error).__name__, error, flush=True)
"""


def claim(folder: Path, results: str = "maps/*.npz", **changed: object) -> dict[str, object]:
    with storage.claimed(folder, {**MANIFEST, **changed}, what="evaluation", results=results) as manifest:
        return manifest


@pytest.mark.parametrize("other", ["layer3", "layer4"])
def test_of_two_processes_that_claim_a_folder_at_once_one_has_it_and_the_other_is_told(
    tmp_path: Path, other: str
) -> None:
    folder = tmp_path / "run"
    processes = [
        subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", CODE, str(folder), layer], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for layer in ("layer3", other)
    ]
    streams = [(process.stdin, process.stdout) for process in processes]
    pipes = [(given, said) for given, said in streams if given is not None and said is not None]
    assert [said.readline() for _, said in pipes] == ["ready\n"] * 2
    for given, _ in pipes:
        given.write("go\n")
        given.flush()
    answers = [said.readline() for _, said in pipes]
    for process in processes:
        process.communicate()
    (winner,) = [answer for answer in answers if answer.startswith("mine")]
    (loser,) = [answer for answer in answers if not answer.startswith("mine")]
    told = ["RunError another process is writing to"]
    told += ["StorageError"] * (other != "layer3")  # of the settings, where the other one was there first
    assert loser.startswith(tuple(told))
    assert storage.read_manifest(folder)["layer"] == winner.split()[1]
    assert len(list((folder / "maps").iterdir())) == 1


def test_of_many_threads_one_has_the_folder_until_it_leaves_it(tmp_path: Path) -> None:
    barrier, outcomes = threading.Barrier(8), list[str]()
    leave = threading.Event()

    def enter() -> None:
        barrier.wait()
        try:
            with storage.claimed(tmp_path / "run", MANIFEST, what="evaluation"):
                outcomes.append("mine")
                leave.wait(60)
        except RunError as error:
            outcomes.append(str(error))
            if len(outcomes) == 8:
                leave.set()

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("mine") == 1
    assert all("another process is writing" in one for one in outcomes if one != "mine")
    assert claim(tmp_path / "run")["layer"] == "layer3"  # it was given back


def test_a_difference_is_said_in_words_whatever_holds_it(tmp_path: Path) -> None:
    claim(tmp_path)
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "0.npz").touch()
    with pytest.raises(StorageError) as caught:
        claim(tmp_path, layer="layer4", card={"fit": "crop", "mean": (0.5, 0.4)}, methods=None)
    assert str(caught.value).endswith(
        "holds another run: layer was 'layer3', is 'layer4'; card.fit was 'pad', is 'crop'; card.mean was not given, "
        "is 0.5, 0.4; methods was 'cam', 'l2caf', is not given; choose another folder, or repeat its settings"
    )
    assert claim(tmp_path) == json.loads(json.dumps(MANIFEST))


def test_what_only_describes_a_run_may_differ_and_stays_as_it_was(tmp_path: Path) -> None:
    first = {"format": "l2caf.test/1", "settings": {"layer": "a"}, "threads": 1}
    with storage.claimed(tmp_path, first, what="run", parts=("settings",)):
        pass
    with storage.claimed(tmp_path, {**first, "threads": 2}, what="run", parts=("settings",)) as manifest:
        assert manifest["threads"] == 1
    with (
        pytest.raises(StorageError, match="layer was 'a', is 'b'"),
        storage.claimed(tmp_path, {**first, "settings": {"layer": "b"}}, what="run", parts=("settings",)),
    ):
        pass


def test_settings_may_change_until_there_is_a_result_if_nobody_else_can_be_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim(tmp_path)
    assert claim(tmp_path, layer="layer4")["layer"] == "layer4"
    with pytest.raises(StorageError, match="layer was 'layer4', is 'layer3'"):
        claim(tmp_path, results="")
    monkeypatch.setattr(storage.claims, "_lock", lambda *_: False)  # a system without locks
    with pytest.raises(StorageError, match="layer was 'layer4', is 'layer3'"):
        claim(tmp_path)


def test_a_strangers_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me", encoding="utf-8")
    with pytest.raises(StorageError, match="exists and holds no evaluation"):
        claim(tmp_path)
    with pytest.raises(StorageError, match="is a file; expected the name of a folder"):
        claim(tmp_path / "mine.txt")
    assert [one.name for one in tmp_path.iterdir()] == ["mine.txt"]
    with storage.claimed(tmp_path / "other", {"format": "l2caf.other/1"}, what="other"):
        pass
    with pytest.raises(StorageError, match=r"holds 'l2caf.other/1', expected 'l2caf.test/1'"):
        claim(tmp_path / "other")


def test_results_of_unknown_settings_are_not_adopted_and_an_early_kill_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / ".manifest.json.partial").write_text("{", encoding="utf-8")
    (tmp_path / ".lock").touch()
    assert claim(tmp_path)["layer"] == "layer3"
    (tmp_path / "maps" / "0.npz").touch()
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(StorageError, match=r"holds maps but no manifest.json"):
        claim(tmp_path)
