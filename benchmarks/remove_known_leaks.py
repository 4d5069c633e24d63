"""Copy a pool without the pairs that a truth file names as leaked from a test set.

    python benchmarks/remove_known_leaks.py POOL TRUTH.parquet OUT

For benchmarks on pools with planted leaks: comparing methods is meaningless while test images are
in the training pool. Members are copied byte for byte; side tables lose the same rows.
"""

import argparse
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vl_pipeline.data.tar import split_member_name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    truth = pq.read_table(arguments.truth, columns=["key", "leak_of"])
    leaked = set(truth.filter(pc.is_valid(truth["leak_of"]))["key"].to_pylist())
    arguments.out.mkdir(parents=True)
    num_removed = sum(
        copy_without(shard, arguments.out / shard.name, leaked)
        for shard in sorted(arguments.pool.glob("*.tar"))
    )
    print(f"removed {num_removed} of {len(leaked)} pairs known as leaked")


def copy_without(shard: Path, target: Path, leaked: set[str]) -> int:
    """Copy one shard and its side table; give how many pairs were left out."""
    removed: set[str] = set()
    with (
        tarfile.open(shard) as source,
        tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as out,
    ):
        for member in source:
            key, _ = split_member_name(member.name)
            if key in leaked:
                removed.add(key)
                continue
            member.pax_headers, member.mtime = {}, int(member.mtime)
            out.addfile(member, source.extractfile(member))
    side = shard.with_suffix(".parquet")
    if side.exists():
        table = pq.read_table(side)
        keep = pc.invert(pc.is_in(table["key"], value_set=pa.array(sorted(leaked), pa.string())))
        pq.write_table(table.filter(keep), target.with_suffix(".parquet"))
    return len(removed)


if __name__ == "__main__":
    main()
