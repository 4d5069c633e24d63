"""The fabricated pool: rendered scenes with captions, noise and truth, for tests and for a start.

Forty-four kinds of thing are drawn over varied backgrounds and captioned in varied wording; sixteen
of them are the target task. The noise of a scraped pool is planted on top and written down as
truth, so that what a curator keeps can be compared with what it should have kept.
"""

from vl_pipeline.data.fabricated.parameters import FabricatedPool
from vl_pipeline.data.fabricated.pool import write_fabricated_pool

__all__ = ["FabricatedPool", "write_fabricated_pool"]
