"""Two goals at once: which points no other beats, what is reached at a given first goal, and the area dominated.

Both values of a point are higher-is-better. Called by the stage `compare` for new task against prior task.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

Point = tuple[float, float]


def on_front(points: Sequence[Point]) -> list[bool]:
    """Whether no other point is at least as good at both and better at one; equal points stand together."""
    return [not any(x >= point[0] and y >= point[1] and (x, y) != point for x, y in points) for point in points]


def value_at(points: Sequence[Point], first: float) -> float | None:
    """The second value at a given first one, on straight lines between neighbours of the front; None outside."""
    front = sorted({point for point, best in zip(points, on_front(points), strict=True) if best})
    for left, right in itertools.pairwise(front):
        if left[0] <= first <= right[0]:
            share = (first - left[0]) / (right[0] - left[0])
            return left[1] + share * (right[1] - left[1])
    return next((y for x, y in front if x == first), None)


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """The area between the reference and the points that are better than it at both; 0 where none is."""
    better = sorted((point for point in points if point[0] > reference[0] and point[1] > reference[1]), reverse=True)
    area, height = 0.0, reference[1]
    for x, y in better:  # from the best first value down: each higher second value adds a strip
        if y > height:
            area += (x - reference[0]) * (y - height)
            height = y
    return area
