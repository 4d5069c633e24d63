# pyarrow is compiled and ships no types; its own checks are at run time.
from typing import Any

def __getattr__(name: str) -> Any: ...
