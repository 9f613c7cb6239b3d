"""The training loop.

A run is a folder. It can be killed at any moment and taken up from its last checkpoint; on the same machine it then
ends with the same weights, bit for bit, as a run that was never interrupted.

    manifest.json         everything that determines the result
    checkpoint.pt         weights, optimiser, scaler, random state, step, best figure so far
    best.safetensors      weights with the least figure of merit
    log.jsonl, curves.png
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import save
from torch import Tensor, nn

from l2caf import storage
from l2caf.errors import RunError, StorageError, TrainingError
from l2caf.extras import require
from l2caf.progress import Report, silent
from l2caf.training import checkpoints, curves
from l2caf.training.feed import Batch, Feed
from l2caf.training.options import Options
from l2caf.training.precision import accelerator_for
from l2caf.training.stopping import stop_requests

DRAW_EVERY_S: Final = 30.0
BEST: Final = "best.safetensors"
FREE: Final = ("device", "save_every", "log_every")  # options that may change when a run is taken up


@dataclass(frozen=True, slots=True)
class Task:
    """What is learnt, and from what.

    Attributes:
        model: The network, on the CPU. It is trained in place and left on the CPU, in eval mode.
        feed: The training batches.
        loss: Computes a scalar from the network and a batch on the network's device.
        validate: Computes figures by name from the network in eval mode; called after every epoch and at the end.
        merit: The name of the figure that decides which weights are best; the least value is best.
        new_layers: Parts of the network that learn faster, by the factor `Options.new_layers`.
        settings: Whatever else determines the result; it is written to the manifest.
    """

    model: nn.Module
    feed: Feed
    loss: Callable[[nn.Module, Batch], Tensor]
    validate: Callable[[nn.Module], Mapping[str, float]]
    merit: str = "top1_error"
    new_layers: tuple[nn.Module, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a run.

    Attributes:
        folder: The folder of the run; `best.safetensors` in it holds the best weights.
        best: The least value of the figure that decides (`Task.merit`).
        best_step: The step at which it was reached.
        log: Every line of the log.
    """

    folder: Path
    best: float
    best_step: int
    log: list[curves.Line]


def fit(
    task: Task,
    options: Options,
    folder: Path,
    *,
    resume: bool = False,
    report: Report = silent,
) -> Result:
    """Train a network.

    Args:
        task: What is learnt, and from what.
        options: The options of the run.
        folder: The folder of the run. It must be new or empty, or, with `resume`, hold a run with the same settings.
        resume: Take up a run that stopped; a run that is finished is left as it is.
        report: Called with the number of steps that are done and the number of all steps.

    Returns:
        The best figure and the log. The network holds the last weights.

    Raises:
        TrainingError: if device or precision cannot be had, the folder holds another run, its checkpoint cannot be
            read, or the loss is not finite.
        ExtraMissingError: if accelerate or matplotlib is not installed.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the step under way is done and saved.
    """
    options = options.checked()
    every = task.feed.steps_per_epoch
    require("matplotlib.figure", extra="train")  # a missing library is reported before the first step
    device = torch.device(options.device)
    with ExitStack() as stack:
        stack.enter_context(_claimed(folder, task, options, resume=resume))
        stack.enter_context(torch.random.fork_rng([device.index or 0] if device.type == "cuda" else []))
        stack.enter_context(torch.cuda.device(device) if device.type == "cuda" else nullcontext())
        torch.manual_seed(options.seed)
        stack.callback(task.model.cpu)
        trainer = _Trainer(task, options, folder)
        should_stop = stack.enter_context(stop_requests())
        report(trainer.step, options.steps)
        for batch in task.feed(trainer.step, options.steps):
            trainer.learn(batch)
            if trainer.step % every == 0 or trainer.step == options.steps:
                trainer.validate()
            is_over = trainer.step == options.steps or should_stop()
            if trainer.step % options.save_every == 0 or is_over:
                trainer.save()
            report(trainer.step, options.steps)
            if should_stop() and trainer.step < options.steps:
                raise KeyboardInterrupt
    task.model.eval()
    return Result(folder, trainer.best, trainer.best_step, trainer.log)


@contextmanager
def _claimed(folder: Path, task: Task, options: Options, *, resume: bool) -> Iterator[None]:
    """Claim the folder for this run, or check that it belongs to it, for as long as the body runs."""
    if not resume and (folder / storage.MANIFEST).is_file():
        raise TrainingError(f"{folder} holds a run; take it up with --resume, or choose another folder")
    determining = {name: value for name, value in asdict(options).items() if name not in FREE}
    settings = {"format": "l2caf.training/1", **determining, "batch_size": task.feed.batch_size, **task.settings}
    with ExitStack() as stack:
        try:
            stack.enter_context(storage.claimed(folder, settings, what="training run"))
        except (StorageError, RunError) as error:
            raise TrainingError(str(error)) from error
        yield


class _Trainer:
    """The state of a run: everything that changes from step to step."""

    def __init__(self, task: Task, options: Options, folder: Path) -> None:
        self.task, self.options, self.folder = task, options, folder
        self.accelerator = accelerator_for(options.precision, options.device)
        self.send = require("accelerate.utils", extra="train").send_to_device
        self.model = task.model.to(options.device).train()
        self.optimiser = self.accelerator.prepare_optimizer(_optimiser(task, options), device_placement=False)
        self.step, self.best, self.best_step = 0, float("inf"), 0
        self.losses: list[Tensor] = []
        self.start = self.drawn = time.perf_counter()
        if checkpoints.exists(folder):
            self._restore(checkpoints.read(folder, options.device))
        self.log = curves.read_log(folder, until=self.step)
        curves.write_log(folder, self.log)

    def learn(self, batch: Batch) -> None:
        """Take one step of the optimiser."""
        for group in self.optimiser.param_groups:
            group["lr"] = group["scale"] * self.options.learning_rate * self.options.factor(self.step)
        with self.accelerator.autocast():
            loss = self.task.loss(self.model, self.send(batch, self.options.device, non_blocking=True))
        self.accelerator.backward(loss)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.losses.append(loss.detach())
        if self.step % self.options.log_every == 0 or self.step == self.options.steps:
            self._log_loss()

    def _log_loss(self) -> None:
        mean = float(torch.stack(self.losses).float().mean())
        self.losses.clear()
        if not torch.isfinite(torch.tensor(mean)):
            raise TrainingError(
                f"the loss is {mean} at step {self.step}; lower the learning rate or raise the precision"
            )
        rate = self.options.learning_rate * self.options.factor(self.step - 1)
        self._write({"loss": mean, "learning_rate": rate, "seconds": time.perf_counter() - self.start})

    def validate(self) -> None:
        """Compute the figures of the network as it is, and keep the best weights."""
        self.model.eval()
        with torch.no_grad():
            figures = dict(self.task.validate(self.model))
        self.model.train()
        self._write({"epoch": self.step / self.task.feed.steps_per_epoch, **figures})
        if figures[self.task.merit] < self.best:
            self.best, self.best_step = figures[self.task.merit], self.step
            state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.model.state_dict().items()}
            with storage.whole_file(self.folder / BEST) as stream:
                stream.write(save(state))
        if time.perf_counter() - self.drawn > DRAW_EVERY_S or self.step == self.options.steps:
            curves.draw(self.folder, self.log)
            self.drawn = time.perf_counter()

    def _write(self, figures: curves.Line) -> None:
        self.log.append({"step": self.step, **figures})
        curves.append(self.folder, self.log[-1])

    def save(self) -> None:
        """Write to disk everything that the rest of the run depends on."""
        scaler = self.accelerator.scaler
        state = {
            "step": self.step, "best": self.best, "best_step": self.best_step,
            "model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "random": torch.get_rng_state(), "losses": [float(loss) for loss in self.losses],
            "cuda_random": torch.cuda.get_rng_state() if self.options.device.startswith("cuda") else None,
        }  # fmt: skip
        checkpoints.write(self.folder, state)

    def _restore(self, state: checkpoints.State) -> None:
        self.step, self.best, self.best_step = state["step"], state["best"], state["best_step"]
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.losses = [torch.tensor(loss, device=self.options.device) for loss in state["losses"]]
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"].cpu())
        if state["cuda_random"] is not None and self.options.device.startswith("cuda"):
            torch.cuda.set_rng_state(state["cuda_random"].cpu())


def _optimiser(task: Task, options: Options) -> torch.optim.Optimizer:
    new = {id(parameter) for layer in task.new_layers for parameter in layer.parameters()}
    learnt = [parameter for parameter in task.model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in learnt if (id(p) in new) == is_new], "scale": options.new_layers if is_new else 1.0}
        for is_new in (False, True)
    ]
    groups = [group for group in groups if group["params"]]
    if options.optimiser == "sgd":
        return torch.optim.SGD(groups, options.learning_rate, momentum=0.9, weight_decay=options.weight_decay)
    return torch.optim.AdamW(groups, options.learning_rate, weight_decay=options.weight_decay)
