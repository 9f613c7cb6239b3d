"""What `l2caf run` costs beside a plain inference loop, and whether its memory stays flat.

    python -m benchmarks.scale --output docs/results/scale

Speed: both read the same JPEG files with the same loader, in turn; the loop is a forward pass and its likeliest class,
the run also finds maps and writes them. Figures are medians over turns of pictures a second, as a share of the loop's
in the same turn, from the first batch on: what comes before it happens once in a run of any length. The same is given
for processor time, which a machine that others use disturbs less; it knows nothing of what overlaps. Weights are
random: they decide nothing here. Memory: resident set of all processes of one run over many small pictures.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
import torch
from PIL import Image

from benchmarks.measure import machine
from l2caf.data.feeding import fed
from l2caf.jobs.run import Local, RunOptions, open_source, run
from l2caf.jobs.run.inputs import PictureSource
from l2caf.jobs.run.shards import batches_of
from l2caf.models import LoadedModel, load

BATCH: Final = 16
PLAIN: Final = "plain loop"
CASES: Final = {
    "top1, filter and box": RunOptions(targets="top1", batch_size=BATCH),
    "class-oblivious, filter and box": RunOptions(batch_size=BATCH),
    "class-oblivious, filter": RunOptions(what=("filter",), batch_size=BATCH),
}
SMALL_PX: Final = 32
SAMPLE_S: Final = 0.5
WARM: Final = 0.2  # share of the pictures after which memory should not grow


def make_pictures(folder: Path, count: int, side: int, suffix: str) -> PictureSource:
    """Files of smooth noise, all different."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(generator.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        coarse.resize((side, side), Image.Resampling.BILINEAR).save(folder / f"{number:06d}{suffix}")
    return open_source(str(folder))


class Watch:
    """Time from the end of the first batch on."""

    def __init__(self) -> None:
        self.wall_s = self.processor_s = 0.0

    def tick(self, done: int) -> None:
        """A batch is done."""
        if done == BATCH:
            self.wall_s, self.processor_s = -time.perf_counter(), -processor_s()

    def stop(self) -> tuple[float, float]:
        """Seconds, and seconds of processors."""
        return self.wall_s + time.perf_counter(), self.processor_s + processor_s()


def processor_s() -> float:
    """Of this process and of those that it has seen end."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def plain(source: PictureSource, loaded: LoadedModel, workers: int, device: torch.device) -> tuple[float, float]:
    """Plain inference with the same loader, timed."""
    watch = Watch()
    classes: list[int] = []
    batches = batches_of(0, len(source), len(source), BATCH)
    reading = fed(source, loaded.card.feeding, batches, workers=workers, device=device)
    with reading as read, torch.inference_mode():
        for batch in read:
            classes += loaded.model(batch.inputs).argmax(1).tolist()
            watch.tick(len(classes))
    return watch.stop()


def whole_run(
    source: PictureSource, loaded: LoadedModel, folder: Path, options: RunOptions, engine: Local
) -> tuple[float, float]:
    """A run into a fresh folder, timed."""
    shutil.rmtree(folder, ignore_errors=True)
    watch = Watch()
    run(source, loaded, folder, options, engine=engine, report=lambda done, _: watch.tick(done))
    return watch.stop()


def speed(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Pictures a second of every case, as a share of the plain loop's."""
    loaded = load(arguments.network, pretrained=False)
    loaded.model.to(arguments.device)
    source = make_pictures(folder / "pictures", arguments.pictures, 256, ".jpg")
    engine = Local(arguments.workers, arguments.device)
    methods = {PLAIN: partial(plain, source, loaded, arguments.workers, torch.device(arguments.device))}
    methods |= {
        name: partial(whole_run, source, loaded, folder / "run", options, engine) for name, options in CASES.items()
    }
    seconds = np.array([[method() for method in methods.values()] for _ in range(1 + arguments.repetitions)])[1:]
    shares = seconds[:, :1] / seconds[:, 1:]
    low, middle, high = np.quantile(shares, [0.25, 0.5, 0.75], axis=0).round(3)
    return {
        "network": arguments.network, "pictures": len(source), "batch": BATCH, "workers": arguments.workers,
        "repetitions": arguments.repetitions,
        "plain_pictures_per_s": (len(source) - BATCH) / statistics.median(seconds[:, 0, 0]),
        "share_of_plain_rate": {
            name: {
                kind: {"median": middle[n, k], "quartiles": [low[n, k], high[n, k]]}
                for k, kind in enumerate(("wall", "processor"))
            }
            for n, name in enumerate(CASES)
        },
    }  # fmt: skip


def memory(folder: Path, count: int, workers: int) -> dict[str, Any]:
    """Resident memory of one run over many small pictures."""
    loaded = load("embedded/digits")
    loaded = replace(loaded, card=replace(loaded.card, size=(SMALL_PX, SMALL_PX)))
    source = make_pictures(folder / "small", count, SMALL_PX, ".png")
    samples: list[tuple[int, float]] = []
    done, finished = [0], threading.Event()

    def watch() -> None:
        while not finished.wait(SAMPLE_S):
            samples.append((done[0], resident_mib()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    try:
        run(
            source, loaded, folder / "run-small", RunOptions(targets="top1", batch_size=64), engine=Local(workers),
            report=lambda n, _: done.__setitem__(0, n),
        )  # fmt: skip
    finally:
        finished.set()
        watcher.join()
    seconds = time.perf_counter() - start
    pictures, mib = np.array([one for one in samples if one[0] > WARM * count], dtype=float).T
    slope = float(np.polyfit(pictures, mib, 1)[0])
    return {
        "pictures": count, "side_px": SMALL_PX, "workers": workers, "pictures_per_s": count / seconds,
        "peak_mib": max(one[1] for one in samples), "first_mib": float(mib[0]), "last_mib": float(mib[-1]),
        "mib_per_10000_pictures": 1e4 * slope,
        "samples": [[int(one[0]), round(one[1], 1)] for one in samples],
    }  # fmt: skip


def resident_mib() -> float:
    """Of this process and its workers; pages that they share are counted once for each."""
    own = psutil.Process()
    total = 0
    for process in (own, *own.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20


def draw(measured: dict[str, Any], path: Path) -> None:
    """Memory over pictures done."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    pictures, mib = np.array(measured["samples"]).T
    figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
    axes.plot(pictures, mib, linewidth=1.2)
    axes.set_ylim(0, 1.15 * mib.max())
    axes.set_xlabel(f"pictures done ({measured['workers']} workers, {measured['side_px']} x {measured['side_px']} px)")
    axes.set_ylabel("resident memory, MiB")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--pictures", type=int, default=112)
    parser.add_argument("--small-pictures", type=int, default=50_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        measured = memory(Path(temporary), arguments.small_pictures, arguments.workers)
        print(json.dumps({name: value for name, value in measured.items() if name != "samples"}, indent=1), flush=True)
        timed = speed(Path(temporary), arguments)
    arguments.output.mkdir(parents=True, exist_ok=True)
    result = {"machine": machine(), "speed": timed, "memory": measured}
    (arguments.output / "scale.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    draw(measured, arguments.output / "memory.png")
    print(json.dumps(timed, indent=1))


if __name__ == "__main__":
    main()
