"""Run the trunks of text towers, and leave out what does not show in their answers.

A causal trunk's state at a position depends on the tokens up to it alone, and its answer is the
state at one position. Where nothing is learned, each different beginning among the texts of a batch
therefore passes the trunk once: no padding, one start token, one "a photo of a". In its last block
only what the answer reads is computed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

if TYPE_CHECKING:
    from open_clip.transformer import ResidualAttentionBlock, TextTransformer

# Shape suffixes: N texts, L positions, D width, H heads, E width of a head,
# U different beginnings: what texts share up to a position is one of them.

_TEXTS_TOGETHER = 32  # small enough to sort a batch into lengths, large enough for the matrix units
_ROWS_AT_ONCE = 512  # of a matrix product, whose result then stays in a core's cache
_ROWS_STEP = 32  # rows are filled up to a multiple: oneDNN prepares itself for each number of rows
_POOLED_AT_A_TOKEN = ("argmax", "eos", "first")


def text_features(text: nn.Module, tokens: Int64[Tensor, "n length"]) -> Float[Tensor, "n width"]:
    """Run a text trunk on tokens padded to any length up to its context.

    A causal trunk's output at the end token depends on nothing after it, so padding shorter is
    exact. A trunk that reads both ways and answers at its first token has the padding masked here.
    On a CPU, where positions are what costs, causal trunks that are not trained run on different
    beginnings; with others, texts of similar length are run together, each group padded to its own
    longest. Hugging Face's encoders mask the padding. Others are padded to their full context.
    """
    from open_clip.hf_model import HFTextEncoder
    from open_clip.transformer import TextTransformer

    if isinstance(text, HFTextEncoder):
        return text(tokens)
    assert isinstance(text, TextTransformer)
    if text.attn_mask is None and text.pool_type != "first":
        return text(F.pad(tokens, (0, text.context_length - tokens.shape[1])))
    if len(tokens) and _runs_by_beginning(text):
        return _features_by_beginning(text, tokens)
    # One look-up for the whole batch: its gradient is as large as the vocabulary.
    embedded = text.token_embedding(tokens) + text.positional_embedding[: tokens.shape[1]]
    if tokens.device.type != "cpu" or len(tokens) <= _TEXTS_TOGETHER:
        return _padded_features(text, tokens, embedded)
    lengths = _lengths(tokens)
    order = lengths.argsort(stable=True)
    parts = [
        _padded_features(text, tokens[places], embedded[places, : int(lengths[places].max())])
        for places in order.split(_TEXTS_TOGETHER)
    ]
    return torch.cat(parts)[order.argsort()]


def _padded_features(text: "TextTransformer", tokens: Tensor, embedded: Tensor) -> Tensor:
    from open_clip.transformer import text_global_pool

    length = embedded.shape[1]
    if text.attn_mask is not None:
        mask = text.attn_mask[:length, :length]
    else:
        mask = _padding_mask(tokens[:, :length], text.heads).to(embedded.dtype)
    hidden = text.transformer(embedded, attn_mask=mask)
    hidden = text.ln_final(hidden)
    return text_global_pool(hidden, tokens[:, :length], text.pool_type, eos_token_id=text.eos_id)


def _lengths(tokens: Int64[Tensor, "n length"]) -> Int64[Tensor, " n"]:
    """Count each text's tokens: up to its end token, which is not 0."""
    return tokens.shape[1] - (tokens.flip(1) != 0).int().argmax(dim=1)


def _padding_mask(tokens: Int64[Tensor, "n length"], num_heads: int) -> Float[Tensor, "m l l"]:
    """Keep every position, in every head of a text, from looking at the padding."""
    length = tokens.shape[1]
    is_padding = torch.arange(length, device=tokens.device) >= _lengths(tokens)[:, None]
    mask = torch.zeros(len(tokens), 1, length, device=tokens.device)
    mask = mask.masked_fill(is_padding[:, None], float("-inf"))
    return mask.expand(-1, length, -1).repeat_interleave(num_heads, dim=0)


def _runs_by_beginning(text: "TextTransformer") -> bool:
    from open_clip.transformer import ResidualAttentionBlock

    weight = text.token_embedding.weight
    return (
        not (text.training or torch.is_grad_enabled())
        and (weight.device.type, weight.dtype) == ("cpu", torch.float32)
        and text.attn_mask is not None
        and text.pool_type in _POOLED_AT_A_TOKEN
        and all(type(block) is ResidualAttentionBlock for block in text.transformer.resblocks)
    )


def _features_by_beginning(text: "TextTransformer", tokens_NL: Tensor) -> Tensor:
    batch = _beginnings(tokens_NL, _pooled_positions(text, tokens_NL))
    length = batch.number.shape[1]
    tokens_U = tokens_NL[:, :length].flatten()[batch.place]
    hidden_UD = text.token_embedding(tokens_U) + text.positional_embedding[batch.place % length]
    *blocks, last = cast("Iterable[ResidualAttentionBlock]", text.transformer.resblocks)
    for block in blocks:
        hidden_UD = _after_attention(block, hidden_UD, _attended(block, hidden_UD, batch))
    ends_ND = hidden_UD[batch.last]
    return text.ln_final(_after_attention(last, ends_ND, _attended_at_ends(last, hidden_UD, batch)))


def _pooled_positions(text: "TextTransformer", tokens_NL: Tensor) -> Int64[Tensor, " n"]:
    """Find the position whose state is the answer, as open_clip's `text_global_pool` does."""
    if text.pool_type == "first":
        return torch.zeros(len(tokens_NL), dtype=torch.int64)
    is_end_NL = (tokens_NL == text.eos_id).int() if text.pool_type == "eos" else tokens_NL
    return is_end_NL.argmax(dim=1)


@dataclass(frozen=True)
class _Beginnings:
    """The different beginnings of a batch of texts.

    Attributes:
        number: Which beginning ends at a text's position; any, behind the text's last one.
        is_read: Whether a position is not behind the text's last one.
        last: Which beginning is the whole text.
        place: A position, in `number` flattened, at which each beginning ends.
    """

    number: Int64[Tensor, "n l"]
    is_read: Bool[Tensor, "n l"]
    last: Int64[Tensor, " n"]
    place: Int64[Tensor, " u"]


def _beginnings(tokens_NL: Tensor, last_position_N: Tensor) -> _Beginnings:
    """Number what texts begin with: in the order of a dictionary, equal beginnings are neighbours.

    Nothing behind a text's last position is told apart.
    """
    last_N = last_position_N.numpy()
    length = int(last_N.max()) + 1
    is_read_NL = np.arange(length) <= last_N[:, None]
    ids_NL = np.where(is_read_NL, tokens_NL.numpy()[:, :length], -1)
    order = np.lexsort(ids_NL.T[::-1])
    ids_NL = ids_NL[order]
    is_new_NL = is_read_NL[order]
    is_new_NL[1:] &= np.logical_or.accumulate(ids_NL[1:] != ids_NL[:-1], axis=1)
    new_number_NL = np.where(is_new_NL, is_new_NL.cumsum().reshape(is_new_NL.shape) - 1, 0)
    number_NL = np.empty_like(new_number_NL)
    number_NL[order] = np.maximum.accumulate(new_number_NL, axis=0)
    text_U, position_U = np.nonzero(is_new_NL)
    return _Beginnings(
        number=torch.from_numpy(number_NL),
        is_read=torch.from_numpy(is_read_NL),
        last=torch.from_numpy(number_NL[np.arange(len(last_N)), last_N]),
        place=torch.from_numpy(order[text_U] * length + position_U),
    )


def _attended(block: "ResidualAttentionBlock", hidden_UD: Tensor, batch: _Beginnings) -> Tensor:
    """Let every beginning look at those within it; before the output's projection."""
    weight, bias = block.attn.in_proj_weight, block.attn.in_proj_bias
    projected = _by_rows(lambda x: F.linear(x, weight, bias), block.ln_1(hidden_UD))
    query, key, value = _in_texts(projected, batch, num_heads=block.attn.num_heads, num_parts=3)
    # padding stands behind a text, where causal attention does not look
    attended_NHLE = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    return attended_NHLE.transpose(1, 2).reshape(-1, hidden_UD.shape[1])[batch.place]


def _attended_at_ends(
    block: "ResidualAttentionBlock", hidden_UD: Tensor, batch: _Beginnings
) -> Tensor:
    """Let only whole texts look at the beginnings within them."""
    weight, bias = block.attn.in_proj_weight, block.attn.in_proj_bias
    width, heads = hidden_UD.shape[1], block.attn.num_heads
    normed_UD = block.ln_1(hidden_UD)
    projected = _by_rows(lambda x: F.linear(x, weight[width:], bias[width:]), normed_UD)
    key, value = _in_texts(projected, batch, num_heads=heads, num_parts=2)
    query_ND = _by_rows(lambda x: F.linear(x, weight[:width], bias[:width]), normed_UD[batch.last])
    attended_NH1E = F.scaled_dot_product_attention(
        query_ND.view(len(query_ND), heads, 1, -1),
        key,
        value,
        attn_mask=batch.is_read[:, None, None],
    )
    return attended_NH1E.reshape(-1, width)


def _in_texts(
    projected: Tensor, batch: _Beginnings, *, num_heads: int, num_parts: int
) -> tuple[Tensor, ...]:
    """Lay queries, keys and values of beginnings out by text, each as [n, heads, length, width]."""
    num_texts, length = batch.number.shape
    in_texts = projected.index_select(0, batch.number.flatten())
    return (
        in_texts.view(num_texts, length, num_parts, num_heads, -1).permute(2, 0, 3, 1, 4).unbind()
    )


def _after_attention(block: "ResidualAttentionBlock", hidden: Tensor, attended: Tensor) -> Tensor:
    hidden = hidden + block.ls_1(_by_rows(block.attn.out_proj, attended))
    return hidden + block.ls_2(_by_rows(block.mlp, block.ln_2(hidden)))


def _by_rows(layer: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Apply what treats each row alone, with oneDNN's products where there are any.

    PyTorch multiplies float32 by MKL, which leaves the wide units of other makers' CPUs unused.
    """
    if not torch.backends.mkldnn.is_available():
        return layer(rows)
    *parts, rest = rows.split(_ROWS_AT_ONCE)
    parts.append(F.pad(rest, (0, 0, 0, -len(rest) % _ROWS_STEP)))
    return torch.cat([layer(part.to_mkldnn()).to_dense() for part in parts])[: len(rows)]
