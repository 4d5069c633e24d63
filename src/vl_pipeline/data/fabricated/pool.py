"""The fabricated world as files: a pool, the tasks to evaluate on, and the truth.

What is written:
    pool/00000.tar, 00000.parquet, 00000_stats.json, 00001.tar ...
    targets/{scenes,other_scenes,scenes_retrieval}/
    truth.parquet
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from vl_pipeline.data.atomic import atomic_folder
from vl_pipeline.data.fabricated.evaluation_tasks import (
    OTHER_SCENES,
    SCENES,
    write_classification_task,
    write_retrieval_task,
)
from vl_pipeline.data.fabricated.parameters import FabricatedPool
from vl_pipeline.data.fabricated.rows import ROWS_PER_SHARD, plan_rows
from vl_pipeline.data.fabricated.shard_files import write_shard
from vl_pipeline.data.fabricated.truth import TRUTH_SCHEMA, true_row


def write_fabricated_pool(folder: Path, parameters: FabricatedPool) -> None:
    """Write pool, tasks and truth into `folder`, in place of what was there; whole or not at all.

    Equal parameters give equal bytes, in any process.

    Raises:
        ParameterError: If so few rows are intact that duplicates have nothing to repeat.
    """
    rows = plan_rows(parameters)
    with atomic_folder(folder) as temporary:
        tasks = temporary / "targets"
        for task in (SCENES, OTHER_SCENES):
            write_classification_task(tasks / task.name, task, parameters)
        write_retrieval_task(tasks / "scenes_retrieval", parameters)
        pool = temporary / "pool"
        pool.mkdir()
        for start in tqdm(
            range(0, len(rows), ROWS_PER_SHARD), desc="fabricate", unit="shard", disable=None
        ):
            shard_rows = rows[start : start + ROWS_PER_SHARD]
            write_shard(pool, shard_rows, image_size_px=parameters.image_size_px)
        truth = pa.Table.from_pylist([true_row(row) for row in rows], schema=TRUTH_SCHEMA)
        pq.write_table(truth, temporary / "truth.parquet")
