"""A dual encoder: two towers that embed images and texts in one space, and a temperature."""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from vl_pipeline.data.digest import digest_of_stream
from vl_pipeline.errors import ParameterError
from vl_pipeline.models.text_trunks import text_features
from vl_pipeline.models.towers import DualEncoderConfig, build_towers


class DualEncoder(nn.Module):
    """Image tower, text tower and a temperature, learned or fixed.

    Embeddings are not normalised here: an objective that wants unit length makes it, in float32.
    """

    def __init__(self, config: DualEncoderConfig, *, seed: int) -> None:
        """Build the towers; weights that are not pretrained are drawn from `seed`.

        The caller's random state is left as it was.
        """
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.image_tower, self.text_tower, self.normalize, self.image_size_px = build_towers(
                config
            )
        self.image_resize_px = config.image_resize_px
        self.image_tower.to(memory_format=torch.channels_last)  # pixels come that way
        self.log_temperature = nn.Parameter(
            torch.tensor(math.log(config.temperature)), requires_grad=config.learn_temperature
        )
        self._frozen_parts: tuple[str, ...] = ()
        self._min_log_temperature = math.log(config.min_temperature)

    @property
    def temperature(self) -> Float[Tensor, ""]:
        """What cosine similarities are divided by."""
        return self.log_temperature.exp()

    @torch.no_grad()
    def clamp_temperature(self) -> None:
        """Keep a learned temperature at or above its minimum; in place, called after each step."""
        if not self.log_temperature.requires_grad:
            return
        self.log_temperature.clamp_(min=self._min_log_temperature)

    def image_features(self, pixels: UInt8[Tensor, "n side side 3"]) -> Float[Tensor, "n width"]:
        """Run the image trunk: features before the projection."""
        return self.image_tower.trunk(self.normalize(pixels))

    def text_features(self, tokens: Int64[Tensor, "n length"]) -> Float[Tensor, "n width"]:
        """Run the text trunk: features before the projection, at each text's end token."""
        return text_features(self.text_tower.trunk, tokens)

    def freeze(self, parts: Iterable[str]) -> None:
        """Stop training the named parts (such as `image_tower.trunk`); in place.

        A frozen part stays in evaluation mode, so that batch statistics do not move either.

        Raises:
            ParameterError: If the model has no such part.
        """
        for part in parts:
            try:
                module = self.get_submodule(part)
            except AttributeError as error:
                raise ParameterError(f"the model has no part '{part}' to freeze") from error
            module.requires_grad_(False)
            module.eval()
            self._frozen_parts += (part,)

    def train(self, mode: bool = True) -> "DualEncoder":
        """Switch to training mode, except for frozen parts."""
        super().train(mode)
        for part in self._frozen_parts:
            self.get_submodule(part).eval()
        return self


def unit(vectors: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
    """Scale vectors to unit length, in float32 whatever they came in."""
    return F.normalize(vectors.float(), dim=-1)


def digest_of_weights(module: nn.Module) -> str:
    """Digest of a module's parameters and persistent buffers, by name."""
    return digest_of_stream(
        part
        for name, tensor in module.state_dict().items()
        for part in (name.encode(), tensor.detach().cpu().contiguous().numpy().tobytes())
    )
