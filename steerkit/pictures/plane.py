"""Where things lie in a picture, in pixels: arrows that end beside a mark, and labels that cover nothing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import atan2, degrees, hypot
from typing import NamedTuple

MARGIN = 0.06
"""Room around what is drawn, as a share of its extent."""
STRIDE = 3.0
"""A line covers a label when one of its points, this far apart, lies in the label (pixels)."""
LETTER, LINE = 6.0, 12.0
"""Width of a letter and height of a line of text (pixels)."""
BESIDE = 6.0
"""From the middle of a mark to the edge of its label (pixels)."""
SIDES = ((1, -1), (-1, -1), (1, 1), (-1, 1), (1, 0), (-1, 0), (0, -1), (0, 1))
"""Where a label may lie beside its mark, in the order of preference: right and above is first."""
STEPS = (0.0, 6.0, 12.0)
"""How much further away it may lie where there is no room (pixels)."""
MARK = 4.9
"""From the middle of a mark to its edge (pixels)."""


class Pixel(NamedTuple):
    """A place, from the left and from the top (pixels)."""

    x: float
    y: float


class Line(NamedTuple):
    """A straight line."""

    start: Pixel
    end: Pixel


@dataclass(frozen=True)
class Arrow:
    """A line that ends short of what it points at; `angle` turns a triangle that points up into its head (degrees)."""

    start: tuple[float, float]
    end: tuple[float, float]
    angle: float


@dataclass(frozen=True)
class Plane:
    """A drawing area and the data that its edges stand for."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: int
    height: int

    @classmethod
    def around(cls, xs: Iterable[float], ys: Iterable[float], width: int, height: int) -> "Plane":
        """The plane that shows all of these, with a margin."""
        return cls(_span([*xs]), _span([*ys]), width, height)

    def pixel(self, x: float, y: float) -> Pixel:
        """Where a point lies."""
        (left, right), (bottom, top) = self.x, self.y
        return Pixel((x - left) / (right - left) * self.width, (top - y) / (top - bottom) * self.height)

    def point(self, at: Pixel) -> tuple[float, float]:
        """Which point lies there."""
        (left, right), (bottom, top) = self.x, self.y
        return left + at.x / self.width * (right - left), top - at.y / self.height * (top - bottom)

    def arrow(self, start: tuple[float, float], end: tuple[float, float], gap: float, aside: float = 0.0) -> Arrow:
        """From point to point, leaving a gap at both ends, moved to its right by `aside` (pixels)."""
        first, last = self.pixel(*start), self.pixel(*end)
        dx, dy = last.x - first.x, last.y - first.y
        length = hypot(dx, dy) or 1.0
        right, down = dx / length, dy / length
        gap = min(gap, length / 3)
        moved = Pixel(-down * aside, right * aside)
        return Arrow(
            self.point(Pixel(first.x + right * gap + moved.x, first.y + down * gap + moved.y)),
            self.point(Pixel(last.x - right * gap + moved.x, last.y - down * gap + moved.y)),
            degrees(atan2(right, -down)),
        )

    def labels(
        self, texts: Sequence[tuple[float, float, str]], marks: Iterable[Pixel], lines: Sequence[Line]
    ) -> list[tuple[float, float]]:
        """The middle of each label, beside the point that it names and away from marks, lines and other labels."""
        taken = [Box(at, MARK, MARK) for at in marks]
        found = []
        for x, y, text in texts:
            best = min(self._beside(self.pixel(x, y), text), key=lambda box: self._cost(box, taken, lines))
            taken.append(best)
            found.append(self.point(best.middle))
        return found

    def _beside(self, mark: Pixel, text: str) -> Iterator["Box"]:
        half, tall = max(len(text), 1) * LETTER / 2, LINE / 2
        for step, (right, down) in product(STEPS, SIDES):
            # On a diagonal it may be nearer: the corners of its box are empty.
            reach = step + (BESIDE if right == 0 or down == 0 else MARK)
            yield Box(Pixel(mark.x + right * (reach + half), mark.y + down * (reach + tall)), half, tall)

    def _cost(self, box: "Box", taken: Sequence["Box"], lines: Sequence[Line]) -> int:
        left, top = box.middle.x - box.half, box.middle.y - box.tall
        right, bottom = box.middle.x + box.half, box.middle.y + box.tall
        outside = left < 0 or top < 0 or right > self.width or bottom > self.height
        return 1000 * outside + 100 * sum(map(box.meets, taken)) + sum(map(box.crossed, lines))


@dataclass(frozen=True)
class Box:
    """A rectangle around its middle (pixels)."""

    middle: Pixel
    half: float
    tall: float

    def meets(self, other: "Box") -> bool:
        """Whether two share a place."""
        near = abs(self.middle.x - other.middle.x) < self.half + other.half
        return near and abs(self.middle.y - other.middle.y) < self.tall + other.tall

    def crossed(self, line: Line) -> bool:
        """Whether a line passes through it."""
        (x0, y0), (x1, y1) = line
        steps = max(1, round(hypot(x1 - x0, y1 - y0) / STRIDE))
        places = (Pixel(x0 + (x1 - x0) * i / steps, y0 + (y1 - y0) * i / steps) for i in range(steps + 1))
        return any(self.meets(Box(at, 0.5, 0.5)) for at in places)


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = MARGIN * (high - low) or 0.05
    return low - room, high + room
