"""A method is a value: four choices, and everything else is shared.

curator    which pairs are kept
schedule   when they are chosen
objective  what is optimised
frozen     what is not trained
"""

from dataclasses import dataclass
from typing import Literal

from vl_pipeline.curation.selection import Curator, needs_counted_columns, needs_pair_scores
from vl_pipeline.objectives.objective import ObjectiveRecipe
from vl_pipeline.training.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way from a pool to a model.

    Attributes:
        name: Lower case; the pipeline's name, the namespace of its datasets, and the top-level
            key of its parameters.
        source: Where the method is published.
        curator: Class of the rule; its fields are the parameters `<name>.curation`.
        schedule: Class of the schedule; its fields are the parameters `<name>.schedule`.
        objective: Class of what is optimised; its fields are the parameters `<name>.objective`.
        frozen: Parts of the dual encoder that are not trained where their weights are pretrained.
        own: Which of the shared blocks of parameters (`model`, `text_start`, `training`) the method
            has of its own, whole, under `<name>.<block>`. The embed stage depends on the first two;
            a method that has one of these has that stage of its own as well.
    """

    name: str
    source: str
    curator: type[Curator]
    schedule: type[Schedule]
    objective: type[ObjectiveRecipe]
    frozen: tuple[str, ...] = ()
    own: tuple[Literal["model", "text_start", "training"], ...] = ()

    @property
    def has_own_towers(self) -> bool:
        """Whether tokens, text start and embeddings are its own, because what they depend on is."""
        return not {"model", "text_start"}.isdisjoint(self.own)

    @property
    def needs_counts(self) -> bool:
        """Whether its curator reads what the stage `count` counts over the raw pool."""
        return needs_counted_columns(self.curator)

    @property
    def needs_caption_features(self) -> bool:
        """Whether its curator may ask for features of captions."""
        return getattr(self.curator, "needs_caption_features", True)

    @property
    def needs_pair_scores(self) -> bool:
        """Whether its pipeline contains the stage that scores pairs."""
        return needs_pair_scores(self.curator)
