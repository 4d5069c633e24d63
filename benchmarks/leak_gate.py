"""Measure the leak gate on a pool whose planted leaks are known.

    python benchmarks/leak_gate.py POOL TARGETS TRUTH.parquet --tasks grocery tiny20

Recall is the share of planted leaks that are found; any other pair that is, counts as false, though
it may be a leak that nobody planted.
`--pictures sheet.png` draws what is missed and what is false, beside what it resembles.
"""

import argparse
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from known_truth import pictures_of
from PIL import Image, ImageDraw

from vl_pipeline.data.pool import PoolImages
from vl_pipeline.data.tasks import Tasks
from vl_pipeline.screening.evaluation_images import TaskImages
from vl_pipeline.screening.leaks import nearest_looks

LIMITS = (32, 48, 56, 64, 72, 80, 88)
COLOUR_DIFFERENCES = (0.16, 0.25, 0.4, np.inf)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", type=Path)
    parser.add_argument("targets", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--limit", type=int, default=72, help="bits, for --pictures")
    parser.add_argument("--colours", type=float, default=0.25, help="for --pictures")
    arguments = parser.parse_args()
    names = tuple(arguments.tasks)
    tasks = TaskImages(Tasks(folder=str(arguments.targets), curate_for=names, evaluate_on=names))
    evaluation = tasks.describe()
    pictures = pictures_of(arguments.pool)
    truth = pq.read_table(arguments.truth, columns=["key", "leak_of"]).to_pydict()
    leak_of = dict(zip(truth["key"], truth["leak_of"], strict=True))
    planted = np.array([leak_of[k] is not None for k in pictures.pairs["key"].to_pylist()])
    print(f"{len(planted)} pairs, {planted.sum()} planted leaks, {len(evaluation.names)} images")
    print("| bits | colours | recall | false | false, by what they resemble |")
    print("| --- | --- | --- | --- | --- |")
    for limit in LIMITS:
        for colours in COLOUR_DIFFERENCES:
            numbers, _ = nearest_looks(
                pictures, evaluation, max_bits=limit, max_colour_difference=colours
            )
            numbers = numbers[pictures.of_row]
            false = np.flatnonzero((numbers >= 0) & ~planted)
            splits = Counter(evaluation.names[n].rpartition("/")[0] for n in numbers[false])
            said = ", ".join(f"{split} {count}" for split, count in sorted(splits.items()))
            recall = (numbers[planted] >= 0).mean()
            print(f"| {limit} | {colours} | {recall:.3f} | {len(false)} | {said} |")
    if arguments.pictures:
        numbers, distance = nearest_looks(
            pictures, evaluation, max_bits=arguments.limit, max_colour_difference=arguments.colours
        )
        numbers, distance = numbers[pictures.of_row], distance[pictures.of_row]
        images = PoolImages(pictures.pairs, arguments.pool)
        false = np.flatnonzero((numbers >= 0) & ~planted)
        missed = np.flatnonzero((numbers < 0) & planted)
        shown = [
            (images.read(int(row)), tasks.image(evaluation.names[numbers[row]])) for row in false
        ]
        shown += [(images.read(int(row)), images.read(int(row))) for row in missed]
        titles = [f"false {distance[row]}" for row in false] + ["missed"] * len(missed)
        draw(shown, titles).save(arguments.pictures)


def draw(pairs: list[tuple[bytes, bytes]], titles: list[str], *, side: int = 96) -> Image.Image:
    """Draw pairs of pictures in rows of six, each with a title."""
    sheet = Image.new("RGB", (6 * (2 * side + 8), (len(pairs) // 6 + 1) * (side + 20)), "white")
    pen = ImageDraw.Draw(sheet)
    for place, (pair, title) in enumerate(zip(pairs, titles, strict=True)):
        left, top = place % 6 * (2 * side + 8), place // 6 * (side + 20)
        for number, data in enumerate(pair):
            image = Image.open(io.BytesIO(data)).convert("RGB").resize((side, side))
            sheet.paste(image, (left + number * side, top))
        pen.text((left, top + side), title, fill="black")
    return sheet


if __name__ == "__main__":
    main()
