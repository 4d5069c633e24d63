"""Content digests: what an artefact is, as 32 hexadecimal digits.

BLAKE2b cut to 128 bits: collision-resistant enough to be an identity, and short enough for
MLflow, whose dataset digests hold at most 36 characters.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

DIGEST_BYTES = 16


def digest_of_bytes(*parts: bytes) -> str:
    """Digest of `parts`, told apart: ("ab", "c") and ("a", "bc") differ."""
    return digest_of_stream(parts)


def digest_of_stream(parts: Iterable[bytes]) -> str:
    """Digest of parts that need not be in memory together; equal to `digest_of_bytes`."""
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()


def digests_of_beginnings(parts: Iterable[bytes]) -> list[str]:
    """Digests of the first part, of the first two, and so on; each part is read once."""
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    digests = []
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
        digests.append(state.hexdigest())
    return digests


def digest_of_strings(values: Iterable[str]) -> str:
    """Digest of a sequence of strings, in order."""
    return digest_of_stream(value.encode() for value in values)


def digest_of_value(value: Any) -> str:
    """Digest of anything JSON can hold; the order of keys does not matter."""
    return digest_of_bytes(json.dumps(value, sort_keys=True, default=str).encode())


def digest_of_code() -> str:
    """Digest of this package's source and tower definitions: equal ones ran the same code."""
    root = Path(__file__).parents[1]
    return digest_of_files(root, sorted([*root.rglob("*.py"), *root.rglob("*.json")]))


def digest_of_files(root: Path, files: Iterable[Path]) -> str:
    """Digest of files' contents and of their names below `root`."""
    return digest_of_stream(
        part for f in files for part in (str(f.relative_to(root)).encode(), f.read_bytes())
    )
