"""DigitClips: short clips of digits that move over DigitScenes' backgrounds, each showing one event.

An event is what an *actor* does: a digit of one of two identities, among others that merely drift. The class of a clip
is the event and the actor's identity together, so that neither motion nor identity alone tells it, and the boxes of
every frame say where the evidence is.

    turns left    goes straight, then to its own left
    stops         goes straight, then stands
    crosses       passes the path of another digit, which is evidence too
    changes       stands and turns from red to green

Clip i of a split depends on the seed and i alone.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from jaxtyping import Float, Int, UInt8

from l2caf.data.digit_drawing import SIZE, Placement, Scene, render
from l2caf.data.digit_scenes import BACKGROUNDS, DigitScenes, SceneSplit
from l2caf.errors import DataError

Event = Literal["turns left", "stops", "crosses", "changes"]
EVENTS: Final[tuple[Event, ...]] = ("turns left", "stops", "crosses", "changes")
ACTORS: Final = (3, 7)
CLASSES: Final = tuple(f"{actor} {event}" for event in EVENTS for actor in ACTORS)
RED, GREEN = (225, 30, 30), (30, 200, 60)
SIDES: Final = (32.0, 42.0)  # of a digit's square in pixels
WAY: Final = (46.0, 64.0)  # pixels that an actor would go straight in a whole clip
DRIFT: Final = 18.0  # pixels at most that others go
TRIES: Final = 200

Track = Float[np.ndarray, "t 2"]


@dataclass(frozen=True, slots=True)
class Clip:
    """A rendered clip.

    Attributes:
        frames: The RGB frames.
        label: The class, as an index into `CLASSES`.
        boxes: For each frame the half-open boxes (x0, y0, x1, y1), in pixels, of the digits that define the event.
        distractors: For each frame the boxes of the other digits.
    """

    frames: UInt8[np.ndarray, "t h w 3"]
    label: int
    boxes: tuple[Int[np.ndarray, "d 4"], ...]
    distractors: tuple[Int[np.ndarray, "e 4"], ...]


class DigitClips:
    """A data set of clips.

    Example:
        >>> clip = DigitClips("test", length=8)[0]
        >>> clip.frames.shape, CLASSES[clip.label]
        ((4, 112, 112, 3), '3 turns left')
    """

    def __init__(self, split: SceneSplit, *, length: int = 1000, frames: int = 4, seed: int = 0) -> None:
        """Describe the data set; nothing is drawn yet.

        Args:
            split: The split whose handwriting and backgrounds are used.
            length: The number of clips; the classes take turns.
            frames: The number of frames in a clip, two or more, at equal steps of time.
            seed: The seed of the whole set.

        Raises:
            DataError: if an option is out of range.
        """
        if split not in BACKGROUNDS:
            raise DataError(f"split {split!r} is unknown; expected one of {', '.join(BACKGROUNDS)}")
        if length < 1 or frames < 2:
            raise DataError(f"length={length}, frames={frames}: expected length > 0 and two frames or more")
        self.split: SceneSplit = split
        self.length = length
        self.frames = frames
        self.seed = seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < self.length:
            raise IndexError(index)
        scenes, n_actors = self.scenes(index)
        drawn = [render(scene) for scene in scenes]
        boxes = [boxes for _, boxes in drawn]
        return Clip(
            np.stack([image for image, _ in drawn]),
            index % len(CLASSES),
            tuple(of_frame[-n_actors:] for of_frame in boxes),
            tuple(of_frame[:-n_actors] for of_frame in boxes),
        )

    def scenes(self, index: int) -> tuple[list[Scene], int]:
        """Describe one clip without drawing it.

        Args:
            index: The number of the clip, in [0, length).

        Returns:
            One scene for each frame, and the number of digits that define the event; these are the last digits of a
            scene, in front of the others.
        """
        event, actor = EVENTS[index % len(CLASSES) // len(ACTORS)], ACTORS[index % len(ACTORS)]
        random = np.random.default_rng([self.seed, list(BACKGROUNDS).index(self.split), index, 9])
        others = random.choice([digit for digit in range(10) if digit not in ACTORS], 2, replace=False)
        cast = (actor, *(int(digit) for digit in others))
        scene = DigitScenes(self.split, length=self.length, objects=3, classes=cast, seed=self.seed).scene(index)
        by_digit = {placement.digit: placement for placement in scene.placements}
        placements = [replace(by_digit[digit], side=float(random.uniform(*SIDES))) for digit in reversed(cast)]
        paths = self._paths(event, random)
        n_actors = 2 if event == "crosses" else 1
        return [
            replace(
                scene, placements=tuple(self._at(p, path, t, event) for p, path in zip(placements, paths, strict=True))
            )
            for t in range(self.frames)
        ], n_actors

    def _at(self, placement: Placement, path: Track, t: int, event: Event) -> Placement:
        colour = placement.colour
        if event == "changes" and placement.digit in ACTORS:
            colour = RED if 2 * t < self.frames else GREEN
        return replace(placement, centre=(float(path[t, 0]), float(path[t, 1])), colour=colour)

    def _paths(self, event: Event, random: np.random.Generator) -> list[Track]:
        """Return the paths of two other digits and of the actor, in this order, far apart and inside the picture."""
        best, gap = None, -1.0
        for _ in range(TRIES):
            paths = self._draw(event, random)
            inside = all(bool(((path > SIDES[1] / 2) & (path < SIZE - SIDES[1] / 2)).all()) for path in paths)
            apart = _apart(paths, touching=event == "crosses")
            if inside and apart > gap:
                best, gap = paths, apart
            if gap > SIDES[1]:
                break
        return best if best is not None else [np.full((self.frames, 2), SIZE / 2) + shift for shift in (-20, 20, 0)]

    def _draw(self, event: Event, random: np.random.Generator) -> list[Track]:
        time = np.linspace(0, 1, self.frames)[:, None]
        actor = self._actor(event, random, time)
        first, second = (
            random.uniform(0, SIZE, 2) + time * _heading(random.uniform(0, 2 * np.pi)) * random.uniform(0, DRIFT)
            for _ in range(2)
        )
        if event == "crosses":  # at right angles, both half way at the same place but not at the same moment
            across = _turned_left(actor[-1] - actor[0])
            second = actor.mean(0) + (time - 0.5 - 0.35 * random.choice([-1, 1])) * across
        return [first, second, actor]

    def _actor(self, event: Event, random: np.random.Generator, time: Float[np.ndarray, "t 1"]) -> Track:
        start = random.uniform(SIDES[1] / 2, SIZE - SIDES[1] / 2, 2)
        way = _heading(random.uniform(0, 2 * np.pi)) * random.uniform(*WAY)
        before, after = np.minimum(time, 0.5), np.maximum(time - 0.5, 0)
        if event == "changes":
            return start + 0 * time * way
        if event == "stops":
            return start + 1.4 * before * way
        if event == "turns left":
            return start + before * way + after * _turned_left(way)
        return start + time * way


def _heading(angle: float) -> Float[np.ndarray, " 2"]:
    return np.array([np.cos(angle), np.sin(angle)])


def _turned_left(way: Float[np.ndarray, " 2"]) -> Float[np.ndarray, " 2"]:
    """Return the direction to the left of a digit that goes `way`; y points down."""
    return np.array([way[1], -way[0]])


def _apart(paths: list[Track], *, touching: bool) -> float:
    """Return the least distance of two digits in any frame; where two cross, only distances to the third count."""
    pairs = [(0, 1), (0, 2)] if touching else [(0, 1), (0, 2), (1, 2)]
    return min(float(np.linalg.norm(paths[a] - paths[b], axis=1).min()) for a, b in pairs)
