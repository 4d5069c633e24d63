"""Download a URL list into shards."""

import logging
from typing import Any

from vl_pipeline.data.download import Download
from vl_pipeline.data.download import download as download_list

logger = logging.getLogger(__name__)


def download(parameters: Download) -> dict[str, Any]:
    """Fill the folder of a download, and give its report."""
    report = download_list(parameters)
    failed = ", ".join(f"{kind} {number}" for kind, number in report["by_error"].items())
    logger.info(
        "%s of %s listed pairs (%.1f %%) in %s shards in %s; failed: %s",
        report["num_downloaded"],
        report["num_listed"],
        100 * report["success_fraction"],
        report["num_shards"],
        parameters.folder,
        failed or "none",
    )
    return report
