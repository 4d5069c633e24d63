"""How fast pairs are taken in, beside cleanvision and beside bare pyarrow.

    python benchmarks/intake_speed.py POOL --cleanvision VENV/bin/python [--rounds 5] [--out FILE]

POOL is a folder of img2dataset's tars. cleanvision lives in an environment of its own:

    python -m venv VENV && VENV/bin/pip install cleanvision

Both sides take their turns in one run; what is compared is CPU time (user and system, of the
process and its children; imports, and collecting the garbage that they left, are left out), because
a shared machine's clock says little. `--parts`
picks some of five parts:

images: one process for each turn, all images of POOL. cleanvision gets them as files, unpacked
    beforehand and not timed, and is asked for exact and near duplicates, odd size and odd
    aspect ratio. Ours reads the tars: each image decoded once, exact duplicates by bytes and
    near ones by equal 256-bit hashes, size and aspect by the entries of `expectations`, and
    also what cleanvision does not do (captions and JSON, the ledger, Great Expectations over
    what is left, the report). cleanvision finds exact duplicates by equal pixels and near ones
    by equal 64-bit hashes.
photos: the same of pictures of 640 x 480 px, which are mosaics of POOL's (real detail at the size
    of photographs, about 130 kB each), without cleanvision's checks of pixels.
pixels: cleanvision's checks of pixels (dark, light, low information, blurry) have no equal here;
    its time with them is for orientation, and is compared with nothing.
rules: the project's entries that drop, over a million made-up rows, beside the same expressions
    written out in pyarrow with nothing said about why a pair was dropped.
stages: what validation costs for those rows: Great Expectations over all of them, and the page.
"""

import argparse
import gc
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from parameters import pair_limits, parameters
from PIL import Image
from side_by_side import cpu_name, cpu_seconds

from vl_pipeline.data.expectations import Expectations, drop_pairs
from vl_pipeline.data.pairs import PAIR_SCHEMA
from vl_pipeline.data.shards import index_shard
from vl_pipeline.pipelines.validate.contract import check_contract
from vl_pipeline.pipelines.validate.report import render_report
from vl_pipeline.screening.evidence import EVIDENCE_SCHEMA

SHAPES = ["exact_duplicates", "near_duplicates", "odd_size", "odd_aspect_ratio"]
PIXELS = ["dark", "light", "low_information", "blurry", "odd_size"]
ALL = sorted({*SHAPES, *PIXELS})
NUM_ROWS = 1_000_000
NUM_PHOTOS = 3000
PHOTO_PX, TILE_PX, PHOTO_QUALITY = (640, 480), 80, 90

CLEANVISION = """
import gc, json, resource, sys
from cleanvision import Imagelab

def cpu():
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)

gc.collect()
start = cpu()
lab = Imagelab(data_path=sys.argv[1], verbose=False)
lab.find_issues({name: {} for name in sys.argv[2:]}, n_jobs=1, verbose=False)
seconds = cpu() - start
counts = dict(zip(lab.issue_summary["issue_type"], map(int, lab.issue_summary["num_images"])))
print(json.dumps({"cpu_seconds": seconds, "num_images": len(lab.issues), "found": counts}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pool", type=Path)
    parser.add_argument("--cleanvision", required=True, help="its environment's python")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure_images(arguments.pool)))
        return
    rounds: list[dict[str, dict]] = [{} for _ in range(arguments.rounds)]
    with tempfile.TemporaryDirectory() as folder:
        for part in arguments.parts:
            for taken, measured in zip(rounds, PARTS[part](arguments, Path(folder)), strict=False):
                taken |= measured
    text = json.dumps(summarise(rounds), indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


def rounds_of_images(arguments: argparse.Namespace, folder: Path) -> Iterator[dict[str, dict]]:
    cleanvision, ours = both_sides(arguments, arguments.pool, folder / "images")
    while True:
        yield {
            "images, cleanvision": run_json([*cleanvision, *SHAPES]),
            "images, ours": run_json(ours),
        }


def rounds_of_pixels(arguments: argparse.Namespace, folder: Path) -> Iterator[dict[str, dict]]:
    cleanvision, _ = both_sides(arguments, arguments.pool, folder / "pixels")
    while True:
        yield {"images, cleanvision with pixel checks": run_json([*cleanvision, *ALL])}


def rounds_of_photos(arguments: argparse.Namespace, folder: Path) -> Iterator[dict[str, dict]]:
    write_mosaics(arguments.pool, folder / "mosaics")
    cleanvision, ours = both_sides(arguments, folder / "mosaics", folder / "photos")
    while True:
        yield {
            "photos, cleanvision": run_json([*cleanvision, *SHAPES]),
            "photos, ours": run_json(ours),
        }


def both_sides(
    arguments: argparse.Namespace, pool: Path, unpacked: Path
) -> tuple[list[str], list[str]]:
    """Give cleanvision's command, which still lacks the names of its checks, and ours."""
    unpack_images(pool, unpacked)
    cleanvision = [arguments.cleanvision, "-c", CLEANVISION, str(unpacked)]
    return cleanvision, [sys.executable, __file__, str(pool), "--cleanvision", "", "--measure"]


def rounds_of_rules(_: argparse.Namespace, __: Path) -> Iterator[dict[str, dict]]:
    pairs = made_up_pairs()
    while True:
        bare, ours = measure_rules_bare(pairs), measure_rules(pairs)
        assert bare["kept"] == ours["kept"], (bare, ours)
        yield {"rules, bare pyarrow": bare, "rules, ours": ours}


def rounds_of_stages(_: argparse.Namespace, __: Path) -> Iterator[dict[str, dict]]:
    pairs = made_up_pairs()
    while True:
        yield {"stages, great expectations and page": measure_stages(pairs)}


def run_json(command: list[str]) -> dict:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def summarise(rounds: list[dict[str, dict]]) -> dict:
    """Median and spread of each side's CPU seconds, and of the ratios within each round."""

    def of(values: list[float]) -> dict[str, float]:
        return {"median": round(median(values), 3), "least": round(min(values), 3),
                "most": round(max(values), 3)}  # fmt: skip

    def ratio(one: str, other: str) -> dict[str, float]:
        return of([r[one]["cpu_seconds"] / r[other]["cpu_seconds"] for r in rounds])

    names = rounds[0]
    results = {
        "date": date.today().isoformat(),
        "cpu": f"{cpu_name()}, {os.cpu_count()} cores",
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "command": " ".join(["python", "benchmarks/intake_speed.py", *sys.argv[1:]]),
        "rounds": len(rounds),
        "cpu_seconds": {name: of([r[name]["cpu_seconds"] for r in rounds]) for name in names},
        "images_per_cpu_second": {
            name: of([r[name]["num_images"] / r[name]["cpu_seconds"] for r in rounds])
            for name in names
            if name.startswith(("images", "photos"))
        },
        "last_round": rounds[-1],
    }
    for part in ("images", "photos"):
        if f"{part}, ours" in names:
            results[f"cleanvision_over_ours, {part}"] = ratio(
                f"{part}, cleanvision", f"{part}, ours"
            )
    if "rules, ours" in names:
        results["rules_over_bare_pyarrow"] = ratio("rules, ours", "rules, bare pyarrow")
    return results


def images_of(shard: Path) -> Iterator[tuple[str, bytes]]:
    """Give name and bytes of each image of a shard."""
    with tarfile.open(shard) as archive:
        for member in archive:
            if member.name.endswith((".jpg", ".png", ".webp")):
                file = archive.extractfile(member)
                assert file is not None
                yield Path(member.name).name, file.read()


def unpack_images(pool: Path, folder: Path) -> None:
    """Write each image of the pool as a file."""
    for shard in sorted(pool.glob("*.tar")):
        (folder / shard.stem).mkdir(parents=True)
        for name, data in images_of(shard):
            (folder / shard.stem / name).write_bytes(data)


def write_mosaics(pool: Path, folder: Path) -> None:
    """Write a shard of large pictures, each of tiles drawn from the pool's first shard."""
    folder.mkdir()
    tiles = []
    for _, data in images_of(min(pool.glob("*.tar"))):
        with suppress(OSError):
            tile = Image.open(io.BytesIO(data)).convert("RGB")
            tiles.append(tile.resize((TILE_PX, TILE_PX)))
    draw = np.random.default_rng(0)
    with tarfile.open(folder / "0.tar", "w") as archive:
        for number in range(NUM_PHOTOS):
            photo, file = Image.new("RGB", PHOTO_PX), io.BytesIO()
            for left in range(0, PHOTO_PX[0], TILE_PX):
                for top in range(0, PHOTO_PX[1], TILE_PX):
                    photo.paste(tiles[draw.integers(len(tiles))], (left, top))
            photo.save(file, "JPEG", quality=PHOTO_QUALITY)
            for suffix, data in (("jpg", file.getvalue()), ("txt", b"a mosaic of pictures")):
                header = tarfile.TarInfo(f"{number:05d}.{suffix}")
                header.size = len(data)
                archive.addfile(header, io.BytesIO(data))


def measure_images(pool: Path) -> dict:
    import great_expectations.expectations  # noqa: F401 (imports are not timed)
    import pandas  # noqa: F401 (as pyarrow does with its first array)

    entries = Expectations.model_validate(parameters("expectations")["expectations"])
    limits = pair_limits()
    gc.collect()
    start = cpu_seconds()
    paths = sorted(pool.glob("*.tar"))
    parts = [index_shard(path, path.name, limits) for path in paths]
    pairs = pa.concat_tables(part.pairs for part in parts)
    indexed = cpu_seconds()
    kept, rejected = drop_pairs(pairs, entries)
    hashes = pc.value_counts(pairs["perceptual_hash"]).field("counts")
    ledger = pa.concat_tables([*(part.ledger for part in parts), rejected])
    num_listed = sum(part.num_listed for part in parts)
    result = check_contract(kept, num_listed=num_listed, ledger=ledger, expectations=entries)
    render_report(
        result,
        pool=kept,
        ledger=ledger,
        num_listed=num_listed,
        evidence=EVIDENCE_SCHEMA.empty_table(),
    )
    end = cpu_seconds()
    return {
        "cpu_seconds": end - start,
        "of_which_index": indexed - start,
        "num_images": pairs.num_rows,
        "kept": kept.num_rows,
        "near_duplicates": pc.sum(pc.if_else(pc.greater(hashes, 1), hashes, 0)).as_py(),
    }


def measure_rules(pairs: pa.Table) -> dict:
    entries = Expectations.model_validate(parameters("expectations")["expectations"])
    start = cpu_seconds()
    kept, ledger = drop_pairs(pairs, entries)
    return {"cpu_seconds": cpu_seconds() - start, "kept": kept.num_rows, "away": ledger.num_rows}


def measure_rules_bare(pairs: pa.Table) -> dict:
    entries = parameters("expectations")["expectations"]
    start = cpu_seconds()
    characters = pc.utf8_length(pairs["caption"])
    shorter = pc.min_element_wise(pairs["width"], pairs["height"])
    longer = pc.max_element_wise(pairs["width"], pairs["height"])
    aspect = pc.divide(pc.cast(longer, pa.float64()), shorter)
    keep = pc.greater_equal(characters, entries["caption_too_short"]["min_value"])
    for more in (
        pc.less_equal(characters, entries["caption_too_long"]["max_value"]),
        pc.greater_equal(shorter, entries["image_too_small"]["min_value"]),
        pc.less_equal(aspect, entries["image_too_narrow"]["max_value"]),
    ):
        keep = pc.and_(keep, more)
    rows = pa.table({"uid": pairs["uid"], "row": np.arange(pairs.num_rows)}).filter(keep)
    first = rows.group_by("uid", use_threads=False).aggregate([("row", "min")])["row_min"]
    once = np.zeros(pairs.num_rows, dtype=bool)
    once[first.to_numpy()] = True
    kept = pairs.filter(pa.array(once))
    away = pairs.select(["shard", "key", "uid"]).filter(pa.array(~once))
    return {"cpu_seconds": cpu_seconds() - start, "kept": kept.num_rows, "away": away.num_rows}


def measure_stages(pairs: pa.Table) -> dict:
    import great_expectations.expectations  # noqa: F401 (imports are not timed)

    entries = Expectations.model_validate(parameters("expectations")["expectations"])
    kept, ledger = drop_pairs(pairs, entries)
    start = cpu_seconds()
    result = check_contract(kept, num_listed=NUM_ROWS, ledger=ledger, expectations=entries)
    checked = cpu_seconds()
    render_report(
        result,
        pool=kept,
        ledger=ledger,
        num_listed=NUM_ROWS,
        evidence=EVIDENCE_SCHEMA.empty_table(),
    )
    end = cpu_seconds()
    return {
        "cpu_seconds": end - start,
        "of_which_great_expectations": checked - start,
        "of_which_page": end - checked,
        "rows": kept.num_rows,
        "holds": result.breach is None,
    }


def made_up_pairs() -> pa.Table:
    """A million pairs, of which the project's entries drop about one in twelve."""
    draw = np.random.default_rng(0)
    words = np.array([f"word{n}" for n in range(5000)] + ["日本語", "привет", "été"] * 50)
    word = words[draw.integers(0, len(words), 9 * NUM_ROWS)]
    ends = np.cumsum(draw.integers(0, 17, NUM_ROWS) // 2 + (draw.random(NUM_ROWS) > 0.02))
    starts = np.concatenate([[0], ends[:-1]])
    captions = [" ".join(word[a:b]) for a, b in zip(starts, ends, strict=True)]
    digests = draw.bytes(32 * NUM_ROWS).hex()
    uids = [digests[32 * n : 32 * n + 32] for n in range(NUM_ROWS)]
    for n in draw.integers(1, NUM_ROWS, NUM_ROWS // 50):
        uids[n] = uids[n // 2]
    hashes, grids = draw.bytes(32 * NUM_ROWS), draw.bytes(48 * NUM_ROWS)
    long, aspect = 10 ** draw.uniform(1.3, 3.5, NUM_ROWS), 1 + draw.exponential(0.6, NUM_ROWS)
    columns = {
        "uid": uids,
        "shard": [f"{n // 10_000:05d}.tar" for n in range(NUM_ROWS)],
        "key": [f"{n:09d}" for n in range(NUM_ROWS)],
        "image_offset": 512 * np.arange(1, NUM_ROWS + 1),
        "image_bytes": draw.integers(400, 90_000, NUM_ROWS),
        "image_hash": uids,
        "perceptual_hash": [hashes[32 * n : 32 * n + 32] for n in range(NUM_ROWS)],
        "colour_grid": [grids[48 * n : 48 * n + 48] for n in range(NUM_ROWS)],
        "width": long.astype(np.int32),
        "height": np.maximum(long / aspect, 1).astype(np.int32),
        "caption": captions,
        "url": [None] * NUM_ROWS,
    }
    return pa.table({name: columns[name] for name in PAIR_SCHEMA.names}, schema=PAIR_SCHEMA)


PARTS = {
    "images": rounds_of_images,
    "photos": rounds_of_photos,
    "pixels": rounds_of_pixels,
    "rules": rounds_of_rules,
    "stages": rounds_of_stages,
}

if __name__ == "__main__":
    main()
