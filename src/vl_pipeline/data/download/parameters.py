"""What a download is given: a list, a folder, how images are stored, how servers are asked."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.data.images import MAX_PIXELS


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class StoredImages:
    """How img2dataset stores what it downloaded, as JPEG; the names are its own but for units.

    Attributes:
        image_size_px: What `resize_mode` aims at.
        resize_mode: Which side is brought to that size, or what is done to both.
        resize_only_if_bigger: Smaller images keep their size.
        skip_reencode: JPEGs that keep their size keep their bytes.
        encode_quality: Of JPEGs that are encoded again.
        max_pixels: An image of more pixels is refused before it is decoded.
    """

    image_size_px: Annotated[int, Gt(0)]
    resize_mode: Literal["no", "keep_ratio", "keep_ratio_largest", "center_crop", "border"]
    resize_only_if_bigger: bool
    skip_reencode: bool
    encode_quality: Annotated[int, Ge(1), Le(100)]
    max_pixels: Annotated[int, Gt(0), Le(MAX_PIXELS)]


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Requests:
    """How servers are asked, and what they may answer.

    Attributes:
        timeout_seconds: Longest silence of a server.
        max_seconds: Longest time of an answer, however steadily it comes.
        max_bytes: Longest answer.
        num_retries: Times a URL is tried again at once.
        user_agent_token: Named to servers; X-Robots-Tag headers may address it.
        disallowed_header_directives: An answer whose X-Robots-Tag has one of these is not used;
            none of them is looked for where this is empty.
        allow_private_addresses: Whether hosts on this machine and in networks that are not public
            are asked, and so also a proxy there.
    """

    timeout_seconds: Annotated[int, Gt(0)]
    max_seconds: Annotated[float, Gt(0)]
    max_bytes: Annotated[int, Gt(0)]
    num_retries: Annotated[int, Ge(0)]
    user_agent_token: str
    disallowed_header_directives: tuple[str, ...]
    allow_private_addresses: bool


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Download:
    """A URL list, where its images go, and how they get there.

    Attributes:
        url_list: A .parquet, .csv, .tsv or .jsonl file; the text formats also as .gz.
        url_column: Name of its column of URLs.
        caption_column: Name of its column of captions.
        folder: Where the shards go; it belongs to one list and one way of storing images.
        python: Interpreter that has img2dataset; None looks for one (`find_python`).
        retry_failed: Whether pairs that failed are tried once more.
        pairs_per_shard: Listed pairs of one shard.
        num_processes: Processes of img2dataset; each works at one shard.
        num_threads: Requests at a time of each process.
        images: How images are stored.
        requests: How servers are asked.
    """

    url_list: str
    url_column: str
    caption_column: str
    folder: str
    python: str | None
    retry_failed: bool
    pairs_per_shard: Annotated[int, Gt(0)]
    num_processes: Annotated[int, Ge(1)]
    num_threads: Annotated[int, Ge(1)]
    images: StoredImages
    requests: Requests
