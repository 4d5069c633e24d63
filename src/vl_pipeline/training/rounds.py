"""The pairs that training chose, round by round: written as it goes, read when it is done."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vl_pipeline.curation.manifest import manifest_of
from vl_pipeline.data.atomic import write_table
from vl_pipeline.data.pool import rows_of_uids
from vl_pipeline.training.checkpoint import Progress
from vl_pipeline.training.schedule import Round


def write_round(scratch: Path, round_: Round, *, pool: pa.Table, target_texts: list[str]) -> None:
    """Write the manifest of a round's selection; one of the same number is replaced."""
    assert round_.selection is not None
    manifest = manifest_of(
        round_.selection,
        pool=pool,
        target_texts=target_texts,
        round_index=round_.state.index,
    )
    write_table(_round_file(scratch, round_.state.index), manifest)


def read_rounds(scratch: Path, progress: Progress) -> pa.Table:
    """Read the manifests of all rounds, in order."""
    return pa.concat_tables(
        pq.read_table(_round_file(scratch, int(record["round"]))) for record in progress.rounds
    )


def trained_on(chosen: pa.Table, pool: pa.Table, progress: Progress) -> pa.Table:
    """Keep of the chosen pairs those that a step has seen: a last partial batch is not trained."""
    rows = rows_of_uids(pool, chosen["uid"])
    times = progress.times_seen[rows]
    for name in ("image_hash", "url"):  # by which others may ask whether a pair was among them
        chosen = chosen.append_column(name, pool[name].take(rows))
    return chosen.append_column("times_seen", pa.array(times)).filter(pa.array(times > 0))


def _round_file(scratch: Path, index: int) -> Path:
    return scratch / "rounds" / f"{index:06d}.parquet"


def of_last_round(pairs: pa.Table) -> pa.Table:
    """Give the rows of the last round."""
    rounds = pairs["round"].to_numpy()
    return pairs.filter(pa.array(rounds == rounds.max()))
