"""Polygons to build a drawing from: points in [-1, 1], x to the right, y downwards.

Everything is a polygon, because a polygon can be rotated, sheared and deformed by moving its
points. Every builder returns a tuple of parts, so that a drawing is a sum of builders.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

# main, dark and light are shades of the object's colour; the others keep their own.
Paint = Literal["main", "dark", "light", "pale", "ink", "wood", "leaf", "flame"]
Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One filled polygon of a drawing."""

    paint: Paint
    points: Float[ndarray, "n 2"]


Drawing = tuple[Part, ...]


def polygon(paint: Paint, *points: Point) -> Drawing:
    """The polygon with these corners."""
    return (Part(paint=paint, points=np.array(points)),)


def box(paint: Paint, left: float, top: float, right: float, bottom: float) -> Drawing:
    """An upright rectangle."""
    return polygon(paint, (left, top), (right, top), (right, bottom), (left, bottom))


def ellipse(
    paint: Paint, x: float, y: float, rx: float, ry: float, *, start: int = 0, end: int = 360
) -> Drawing:
    """An ellipse, or the part of it between two angles in degrees (180 to 360 is the top half)."""
    return (Part(paint=paint, points=_arc(x, y, rx, ry, start, end)),)


def ring(paint: Paint, x: float, y: float, outer: float, inner: float) -> Drawing:
    """A round band that shows what is behind its hole."""
    outside = _arc(x, y, outer, outer, 0, 360)
    inside = _arc(x, y, inner, inner, 360, 0)
    return (Part(paint=paint, points=np.concatenate([outside, inside])),)


def crescent(paint: Paint, x: float, y: float, outer: float, inner: float) -> Drawing:
    """The left half of a disc with a narrower half ellipse bitten out of it."""
    back = _arc(x, y, outer, outer, 90, 270)
    hollow = _arc(x, y, inner, outer, 270, 90)
    return (Part(paint=paint, points=np.concatenate([back, hollow])),)


def spikes(paint: Paint, x: float, y: float, outer: float, inner: float, number: int) -> Drawing:
    """A star with this many points, one of them straight up."""
    angles = np.arange(2 * number) * np.pi / number - np.pi / 2
    radii = np.where(np.arange(2 * number) % 2 == 0, outer, inner)
    points = np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)
    return (Part(paint=paint, points=points),)


def stroke(paint: Paint, width: float, *points: Point) -> Drawing:
    """A line of the given width through the points, one rectangle a segment."""
    parts = []
    for (x0, y0), (x1, y1) in pairwise(points):
        length = float(np.hypot(x1 - x0, y1 - y0))
        dx, dy = (x1 - x0) / length * width / 2, (y1 - y0) / length * width / 2
        # Half a width longer at both ends closes the gap at a bend.
        (a, b), (c, d) = (x0 - dx, y0 - dy), (x1 + dx, y1 + dy)
        left, right = ((a - dy, b + dx), (c - dy, d + dx)), ((c + dy, d - dx), (a + dy, b - dx))
        parts += polygon(paint, *left, *right)
    return tuple(parts)


def _arc(x: float, y: float, rx: float, ry: float, start: int, end: int) -> Float[ndarray, "n 2"]:
    num_points = 4 + abs(end - start) // 22
    angles = np.radians(np.linspace(start, end, num_points))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)
