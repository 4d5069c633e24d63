"""The passes of a download: what each asks for, and what became of it.

Pass 0 asks for the URL list, each further one for what had failed until then. A pass is a Parquet
file in `_lists`, written before its first request and never changed. img2dataset numbers shards
through the files of that folder and skips those it finished, so it goes on where it was
interrupted, and the shard and the key of each row are known in advance.

A pair is listed once, whatever the number of passes: a row of img2dataset's side tables is taken
out when the same pair was tried again.
"""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vl_pipeline.data.atomic import write_table
from vl_pipeline.errors import ParameterError

LOST = "lost"
"""Status of a listed pair of which img2dataset says nothing."""

SHARD_DIGITS = 5
_SETTINGS = b"settings"


class Passes:
    """The lists in one folder of shards."""

    def __init__(self, folder: Path, *, pairs_per_shard: int) -> None:
        """Take the folder of the shards, and the listed pairs of each."""
        self.folder = folder
        self.lists = folder / "_lists"
        self._pairs_per_shard = pairs_per_shard

    def begin(self, listed: pa.Table, *, settings: dict[str, Any]) -> None:
        """Write the first list, or make sure that the one there is the same.

        Args:
            listed: Columns `url` and `caption`.
            settings: All that the shards depend on but the list; values JSON can hold.

        Raises:
            ParameterError: If the folder holds shards of another list, or with other settings.
        """
        if not self._files():
            if any(self.folder.glob("*.tar")):
                raise ParameterError(
                    f"download.folder is '{self.folder}', which holds shards that were not "
                    f"downloaded by this pipeline; name another folder"
                )
            never = pa.nulls(listed.num_rows, pa.string())
            self._add(listed.append_column("retry_of", never), settings=settings)
            return
        first = pq.read_table(self._files()[0])
        made_with = json.loads(first.schema.metadata[_SETTINGS])
        changed = [f"{name}={old}" for name, old in made_with.items() if old != settings.get(name)]
        if not first.select(listed.column_names).equals(listed):
            changed.append("another URL list")
        if changed:
            raise ParameterError(
                f"download.folder is '{self.folder}', which was begun with {', '.join(changed)}; "
                f"go on with those, name another folder, or remove this one"
            )

    def retry(self) -> bool:
        """Add a pass over the pairs that have failed so far; say whether there are any."""
        outcomes = self.outcomes()
        failed = outcomes.filter(pc.field("status") != "success")
        if failed.num_rows:
            again = failed.select(["url", "caption", "key"])
            self._add(again.rename_columns(["url", "caption", "retry_of"]), settings=None)
        return failed.num_rows > 0

    def unfinished_shards(self) -> list[str]:
        """Name the shards that img2dataset has not finished."""
        return [name for name in self.shards() if not (self.folder / f"{name}_stats.json").exists()]

    def shards(self) -> list[str]:
        """Name the shards of all passes."""
        return self.attempts()["shard"].unique().to_pylist()

    def __len__(self) -> int:
        return len(self._files())

    def attempts(self) -> pa.Table:
        """Give all rows of all passes: url, caption, retry_of, shard, key."""
        return pa.concat_tables(
            pq.read_table(file).replace_schema_metadata() for file in self._files()
        )

    def outcomes(self) -> pa.Table:
        """Give each listed pair's last attempt, with `status` and `error_message`."""
        attempts = self.attempts()
        last = attempts.filter(pc.invert(_was_retried(attempts)))
        names = ["key", "status", "error_message"]
        told = pa.concat_tables(
            pq.read_table(self._side_table(shard), columns=names)
            for shard in last["shard"].unique().to_pylist()
        )
        places = pc.index_in(last["key"], value_set=told["key"].combine_chunks())
        status = pc.fill_null(told["status"].take(places), LOST)
        return last.append_column("status", status).append_column(
            "error_message", told["error_message"].take(places)
        )

    def settle(self) -> None:
        """Take attempts that were followed by another one out of the side tables.

        Every pass must be finished. Doing it twice changes nothing.
        """
        attempts = self.attempts()
        retried = attempts.filter(_was_retried(attempts))
        for shard in retried["shard"].unique().to_pylist():
            path = self._side_table(shard)
            rows = pq.read_table(path)
            again = pc.is_in(rows["key"], value_set=retried["key"].combine_chunks())
            if pc.any(again).as_py():
                write_table(path, rows.filter(pc.invert(again)))

    def _add(self, rows: pa.Table, *, settings: dict[str, Any] | None) -> None:
        first_shard = len(self.shards()) if self._files() else 0
        places = [divmod(number, self._pairs_per_shard) for number in range(rows.num_rows)]
        names = [f"{first_shard + shard:0{SHARD_DIGITS}d}" for shard, _ in places]
        keys = [self._key(first_shard + shard, place) for shard, place in places]
        table = rows.append_column("shard", pa.array(names, pa.string()))
        table = table.append_column("key", pa.array(keys, pa.string()))
        table = table.replace_schema_metadata({_SETTINGS: json.dumps(settings)})
        write_table(self.lists / f"{len(self):05d}.parquet", table)

    def _key(self, shard: int, place: int) -> str:
        """img2dataset/downloader.py, compute_key."""
        digits = math.ceil(math.log10(self._pairs_per_shard))
        return f"{shard * 10**digits + place:0{SHARD_DIGITS + digits}d}"

    def _side_table(self, shard: str) -> Path:
        return self.folder / f"{shard}.parquet"

    def _files(self) -> list[Path]:
        return sorted(self.lists.glob("*.parquet"))


def _was_retried(attempts: pa.Table) -> pa.ChunkedArray:
    return pc.is_in(attempts["key"], value_set=attempts["retry_of"].drop_null().combine_chunks())
