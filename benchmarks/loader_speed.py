"""How fast training batches come, beside webdataset with Pillow and beside bare JPEG decoding.

    OMP_NUM_THREADS=1 python benchmarks/loader_speed.py [--num 512] [--rounds 5]

From a tar to a normalised float batch, one thread, in samples per CPU second:

ours:      the training loader: `PoolImages`, `ViewLoader`, `load_ahead` with one thread, and the
           image tower's normalisation. Images were read before, as they are from a run's second
           epoch on, so that their digests are known to hold.
ours, first read: the same where each image is held against its digest.
pillow:    webdataset with what open_clip's trainer does to an image: Pillow, RandomResizedCrop with
           bicubic, ToTensor, Normalize, torch's DataLoader. Its workers are left out (0), because
           handing batches over would cost it more.
bare:      simplejpeg alone, each picture at the scale that ours decodes it at, from memory.

Freed memory is kept (`keep_freed_memory`), as in training, and for every variant.

Pictures are made here (see `made_up.photographs`) at the sizes of photographs: 512 px to 224, and
256 px to 64.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import made_up
import numpy as np
import pyarrow as pa
import simplejpeg
import torch
from parameters import pair_limits
from side_by_side import circumstances, ratios, shown, spread, table, take_turns, write_results
from torchvision import transforms
from webdataset import filters
from webdataset.pipeline import DataPipeline
from webdataset.shardlists import SimpleShardList
from webdataset.tariterators import tarfile_to_samples

from vl_pipeline.data import views
from vl_pipeline.data.images import decode_rgb
from vl_pipeline.data.loader import ViewLoader, load_ahead
from vl_pipeline.data.pool import PoolImages
from vl_pipeline.data.shards import index_shard
from vl_pipeline.data.views import TrainingViews
from vl_pipeline.models.device import keep_freed_memory
from vl_pipeline.models.towers import ImageNormalization

SIZES = {"512 to 224": (512, 224), "256 to 64": (256, 64)}
MIN_CROP_FRACTION = 0.5
VIEWS = TrainingViews(min_crop_fraction=MIN_CROP_FRACTION, flip_probability=0.5)
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
BATCH_SIZE = 64
NUM_DIFFERENT = 64  # pictures that are made; each comes several times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num", type=int, default=512, help="samples a round, of each size")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    started = os.getloadavg()
    rows, data = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (shorter_px, side_px) in SIZES.items():
            print(name, flush=True)
            shard = Path(folder) / f"{shorter_px}.tar"
            made = made_up.photographs(NUM_DIFFERENT, shorter_px=shorter_px)
            images = [made[n % NUM_DIFFERENT] for n in range(arguments.num)]
            made_up.write_shard(shard, ((f"{n:06d}", i, "a") for n, i in enumerate(images)))
            pairs = index_shard(shard, shard.name, pair_limits()).pairs
            rows += measure(name, images, shard, pairs, side_px, arguments.rounds, data)
    page = (
        table(["pictures", "variant", "samples / CPU s", "µs a sample", "CPU over ours"], rows)
        + f"\n{arguments.num} samples a round, {NUM_DIFFERENT} different, in batches of "
        f"{BATCH_SIZE}; from the page cache. `bare` decodes from memory and does nothing else.\n"
    )
    about = circumstances(started)
    write_results("loader_speed", title="Training loader", about=about, page=page, data=data)


def measure(
    name: str,
    images: list[bytes],
    shard: Path,
    pairs: pa.Table,
    side_px: int,
    rounds: int,
    data: dict,
) -> list[list[str]]:
    read_before = PoolImages(pairs, shard.parent)
    for row in range(len(read_before)):
        read_before.read(row)
    jobs = decodings(lambda: read_before, side_px)
    variants: dict[str, Callable[[], object]] = {
        "ours": partial(ours, lambda: read_before, side_px),
        "ours, first read": partial(ours, lambda: PoolImages(pairs, shard.parent), side_px),
        "pillow": partial(pillow, shard, len(images), side_px),
        "bare": partial(bare, jobs),
    }
    turns = take_turns(variants, rounds=rounds)
    for loader in ("ours", "ours, first read", "pillow"):
        assert turns[loader][-1].result == len(images), loader
    speeds = {
        variant: spread([len(images) / t.cpu_seconds for t in taken], 0)
        for variant, taken in turns.items()
    }
    over = {v: ratios(taken, turns["ours"]) for v, taken in turns.items()}
    divisors = [divided_by for _, divided_by in jobs]
    scales = {f"1/{n}": divisors.count(n) / len(divisors) for n in sorted(set(divisors))}
    mean_bytes = sum(map(len, images)) / len(images)
    data[name] = {
        "mean_bytes": round(mean_bytes),
        "decoded_at": scales,
        "samples_per_cpu_second": speeds,
        "cpu_seconds_over_ours": over,
        "samples_per_wall_second": {
            v: spread([len(images) / t.wall_seconds for t in taken], 0)
            for v, taken in turns.items()
        },
    }
    shares = " and ".join(f"{scale} ({share:.0%})" for scale, share in scales.items())
    label = f"{name} px, {mean_bytes / 1e3:.0f} KB, decoded at {shares}"
    return [
        [label, v, shown(s), f"{1e6 / s['median']:,.0f}", f"{over[v]['median']:.2f} x"]
        for v, s in speeds.items()
    ]


def ours(opened: Callable[[], PoolImages], side_px: int) -> int:
    """Load every pair once, in an order drawn as an epoch's is."""
    images = opened()
    loader = ViewLoader(images, VIEWS, side_px=side_px, num_views=1, seed=0)
    normalize = ImageNormalization(MEAN, STD)
    rows = np.random.default_rng(0).permutation(len(images))
    steps = [rows[start : start + BATCH_SIZE] for start in range(0, len(rows), BATCH_SIZE)]
    num = 0
    for pixels in load_ahead(lambda s: loader.load(*s), enumerate(steps), num_threads=1):
        for view in torch.from_numpy(pixels):
            num += len(normalize(view))
    return num


def pillow(shard: Path, num: int, side_px: int) -> int:
    """As open_clip's trainer reads shards and transforms images."""
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(
                side_px,
                scale=(MIN_CROP_FRACTION, 1.0),
                interpolation=transforms.InterpolationMode.BICUBIC,
            ),
            transforms.RandomHorizontalFlip(VIEWS.flip_probability),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    dataset = DataPipeline(
        SimpleShardList([str(shard)]),
        tarfile_to_samples(),
        filters.shuffle(256, initial=256),
        filters.decode("pilrgb"),
        filters.rename(image="jpg;png;jpeg;webp", text="txt"),
        filters.map_dict(image=transform),
        filters.to_tuple("image", "text"),
        filters.batched(BATCH_SIZE, partial=True),
    )
    batches = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=0)  # pyright: ignore[reportArgumentType]
    return sum(len(images) for images, _ in batches)


def decodings(opened: Callable[[], PoolImages], side_px: int) -> list[tuple[bytes, int]]:
    """Each picture that ours decodes, and what it divides the sides by: as its crop allows."""
    found: list[tuple[bytes, int]] = []

    def recorded(data: bytes, *, divided_by: int) -> np.ndarray:
        found.append((data, divided_by))
        return decode_rgb(data, divided_by=divided_by)

    with patch.object(views, "decode_rgb", recorded):
        ours(opened, side_px)
    return found


def bare(jobs: list[tuple[bytes, int]]) -> int:
    height, width = map(int, simplejpeg.decode_jpeg_header(jobs[0][0])[:2])
    for image, divided_by in jobs:
        least = -(-height // divided_by), -(-width // divided_by)
        pixels = simplejpeg.decode_jpeg(
            image, "RGB", min_height=least[0], min_width=least[1], min_factor=1, strict=True
        )
        assert pixels.shape[:2] == least
    return len(jobs)


if __name__ == "__main__":
    main()
