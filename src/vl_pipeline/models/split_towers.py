"""open_clip's towers, each taken apart into a trunk and a projection.

Everything that differs between methods (what is frozen, which weight decay, what captions are
compared by) is said of trunks and projections, and open_clip's models do not name them alike.
Here each tower becomes `Tower(trunk, projection)`; its output is the same as open_clip's.
"""

from typing import Any, cast

from torch import nn

from vl_pipeline.errors import ParameterError
from vl_pipeline.models.text_encoders import set_dropout


class Tower(nn.Module):
    """A trunk that gives features and a projection that turns them into embeddings."""

    def __init__(self, trunk: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.projection = projection


def take_head_out(visual: Any, *, embed_dim: int) -> None:
    """Give an EfficientNet the features before its last 1x1 convolution; in place.

    Source: ALIGN (arXiv 2102.05918) section 4.1.
    """
    from timm.models.efficientnet import EfficientNet

    trunk = getattr(visual, "trunk", None)
    if not isinstance(trunk, EfficientNet):
        raise ParameterError(
            f"keep_image_head is false, but the image tower is no EfficientNet ({type(trunk)})"
        )
    trunk = cast(Any, trunk)
    width = trunk.conv_head.in_channels
    trunk.conv_head, trunk.bn2 = nn.Identity(), nn.Identity()  # timm's bn2 holds the activation too
    same = width == embed_dim
    visual.head = nn.Identity() if same else nn.Linear(width, embed_dim, bias=False)


def split_image_tower(visual: nn.Module) -> Tower:
    """Take an image tower of open_clip apart; in place.

    Raises:
        ParameterError: If it is of a kind that is not known here.
    """
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    if isinstance(visual, TimmModel):
        return Tower(visual.trunk, visual.head)
    if isinstance(visual, VisionTransformer) and visual.proj is not None:
        projection = _linear_of(visual.proj)
        visual.proj = None
        return Tower(visual, projection)
    if isinstance(visual, ModifiedResNet):
        return Tower(visual, nn.Identity())  # its attention pool projects and cannot be split off
    raise ParameterError(f"an image tower of kind {type(visual).__name__} cannot be taken apart")


def split_text_tower(text: nn.Module) -> Tower:
    """Take a text tower of open_clip apart; in place.

    Raises:
        ParameterError: If it is of a kind that is not known here.
    """
    from open_clip.hf_model import HFTextEncoder
    from open_clip.transformer import TextTransformer

    if isinstance(text, HFTextEncoder):
        projection, text.proj = text.proj, nn.Identity()
        set_dropout(text, 0.0)
        return Tower(text, projection)
    if not isinstance(text, TextTransformer) or text.cls_emb is not None:
        raise ParameterError(
            f"a text tower of kind {type(text).__name__} cannot be taken apart; open_clip's "
            f"native text transformers and Hugging Face's encoders can"
        )
    projection = text.text_projection
    text.text_projection = None
    if isinstance(projection, nn.Parameter):
        projection = _linear_of(projection)
    return Tower(text, projection if projection is not None else nn.Identity())


def _linear_of(matrix: nn.Parameter) -> nn.Linear:
    """open_clip multiplies features by a matrix [width, dim]; a Linear keeps it transposed."""
    width, dim = matrix.shape
    linear = nn.Linear(width, dim, bias=False)
    linear.weight = nn.Parameter(matrix.detach().T.contiguous())
    return linear
