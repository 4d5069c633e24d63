"""How a download went: pairs by status, and failures by kind."""

import re
from collections import Counter
from typing import Any

from vl_pipeline.data.download.passes import Passes

# First match wins. Messages are img2dataset's, urllib's, OpenCV's and img2dataset_program's.
_KINDS = (
    ("disallowed", "X-Robots-Tag"),
    ("private_address", "private address"),
    ("too_long", "longer than .* bytes"),
    ("too_slow", "longer than .* seconds"),
    ("not_http", "^scheme|unknown url type"),
    ("bad_url", "no host given|codec can't encode|URL can't contain|nonnumeric port"),
    ("timed_out", "timed out"),
    ("unknown_host", "Errno -|getaddrinfo|name resolution|Name or service"),
    ("tls", "SSL|CERTIFICATE"),
    ("incomplete", "IncompleteRead"),
    ("connection", "Errno|Connection|Remote end closed"),
    ("too_many_pixels", "OPENCV_IO_MAX_IMAGE|CV_IO_MAX_IMAGE|validateInputImageSize"),
    ("not_an_image", "Image decoding error"),
)


def report_of(passes: Passes) -> dict[str, Any]:
    """Count the listed pairs by the status of their last attempt, and those failed by kind."""
    outcomes = passes.outcomes()
    statuses = Counter(outcomes["status"].to_pylist())
    kinds = Counter(
        kind_of_error(message)
        for status, message in zip(
            outcomes["status"].to_pylist(), outcomes["error_message"].to_pylist(), strict=True
        )
        if status != "success"
    )
    return {
        "num_listed": outcomes.num_rows,
        "num_downloaded": statuses["success"],
        "success_fraction": statuses["success"] / outcomes.num_rows,
        "num_passes": len(passes),
        "num_shards": len(passes.shards()),
        "by_status": dict(statuses.most_common()),
        "by_error": dict(kinds.most_common()),
    }


def kind_of_error(message: str | None) -> str:
    """Name the kind of an error message, such as `http_404` or `timed_out`; `other` if unknown."""
    if code := re.search(r"HTTP Error (\d{3})", message or ""):
        return f"http_{code[1]}"
    return next((kind for kind, pattern in _KINDS if re.search(pattern, message or "")), "other")
