"""Run text trunks on tokens that are padded to any length, at the cost of what the texts say.

A causal trunk's state at a position depends on the tokens up to there and on nothing else. So
padding shorter is exact, texts that begin alike share the states of their beginning, and of the
last block only the state at the end token is needed.
"""

from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from open_clip.transformer import ResidualAttentionBlock, TextTransformer

_TEXTS_TOGETHER = 32  # small enough to sort a batch into lengths, large enough for the matrix units


def text_features(text: nn.Module, tokens: Int64[Tensor, "n length"]) -> Float[Tensor, "n width"]:
    """Run a text trunk on tokens padded to any length up to its context.

    A trunk that reads both ways and answers at its first token has the padding masked here.
    Hugging Face's encoders mask it. Other trunks are padded to their full context. On a CPU, where
    positions are what costs, a causal trunk passes each beginning of a text once where no gradient
    is asked for; elsewhere texts of similar length are run together, each group padded to its own
    longest.
    """
    from open_clip.hf_model import HFTextEncoder
    from open_clip.transformer import TextTransformer

    if isinstance(text, HFTextEncoder):
        return text(tokens)
    assert isinstance(text, TextTransformer)
    if text.attn_mask is None and text.pool_type != "first":
        return text(nn.functional.pad(tokens, (0, text.context_length - tokens.shape[1])))
    is_on_cpu = tokens.device.type == "cpu"
    if is_on_cpu and not torch.is_grad_enabled() and len(tokens) and has_plain_blocks(text):
        return features_by_beginnings(text, tokens)
    # One look-up for the whole batch: its gradient is as large as the vocabulary.
    embedded = text.token_embedding(tokens) + text.positional_embedding[: tokens.shape[1]]
    if not is_on_cpu or len(tokens) <= _TEXTS_TOGETHER:
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


class _Beginnings(NamedTuple):
    """The different beginnings of N texts of up to L tokens: U nodes.

    Attributes:
        node: The node of a text's beginning up to a position; behind its end, any node.
        end: Position of each text's end token.
        text: A text that has the node.
        position: Of the node's last token.
    """

    node: Int64[Tensor, "N L"]
    end: Int64[Tensor, " N"]
    text: Int64[Tensor, " U"]
    position: Int64[Tensor, " U"]


def has_plain_blocks(text: "TextTransformer") -> bool:
    """Whether `features_by_beginnings` computes what this trunk does."""
    from open_clip.transformer import ResidualAttentionBlock

    return (
        text.attn_mask is not None
        and text.pool_type in ("argmax", "eos")
        and all(type(block) is ResidualAttentionBlock for block in text.transformer.resblocks)
    )


def features_by_beginnings(
    text: "TextTransformer", tokens: Int64[Tensor, "n length"]
) -> Float[Tensor, "n width"]:
    """Run a causal trunk once for each different beginning of the texts.

    Everything but attention works on beginnings, one row each. Attention gathers each text's row of
    them; what stands behind an end is never looked at, because what comes later is masked.

    Args:
        text: One that `has_plain_blocks`.
        tokens: At least one text.
    """
    ends = (
        tokens.argmax(1) if text.pool_type == "argmax" else (tokens == text.eos_id).int().argmax(1)
    )
    found = _beginnings(tokens, ends)
    hidden_UD = text.token_embedding(tokens[found.text, found.position])
    hidden_UD = hidden_UD + text.positional_embedding[found.position]
    *blocks, last = cast("list[ResidualAttentionBlock]", list(text.transformer.resblocks))
    for block in blocks:
        hidden_UD = _block(block, hidden_UD, found)
    return text.ln_final(_last_block(last, hidden_UD, found))


def _beginnings(tokens: Tensor, ends: Tensor) -> _Beginnings:
    """Find the different beginnings: sorted, each text shares with the one before it or none."""
    ids, end = tokens.numpy()[:, : int(ends.max()) + 1], ends.numpy()
    order = np.lexsort(ids.T[::-1])
    is_text = np.arange(ids.shape[1]) <= end[order, None]
    begins_alike = np.logical_and.accumulate(ids[order[1:]] == ids[order[:-1]], axis=1)
    is_new = is_text.copy()
    is_new[1:] &= ~(begins_alike & is_text[:-1])
    node = np.where(is_new, np.cumsum(is_new).reshape(is_new.shape) - 1, 0)
    node = np.maximum.accumulate(node, axis=0)
    place, position = np.nonzero(is_new)
    node_of_text = np.empty_like(node)
    node_of_text[order] = node
    found = (node_of_text, end, order[place], position)
    return _Beginnings(*map(torch.from_numpy, found))


def _block(block: "ResidualAttentionBlock", hidden_UD: Tensor, found: _Beginnings) -> Tensor:
    attention, heads = block.attn, block.attn.num_heads
    qkv_UE = F.linear(block.ln_1(hidden_UD), attention.in_proj_weight, attention.in_proj_bias)
    q_NHLC, k_NHLC, v_NHLC = (
        part.unflatten(-1, (heads, -1)).transpose(1, 2)
        for part in qkv_UE[found.node].chunk(3, dim=-1)
    )
    seen_NHLC = F.scaled_dot_product_attention(q_NHLC, k_NHLC, v_NHLC, is_causal=True)
    seen_UD = seen_NHLC.transpose(1, 2)[found.text, found.position].flatten(1)
    return _rest_of_block(block, hidden_UD, seen_UD)


def _last_block(block: "ResidualAttentionBlock", hidden_UD: Tensor, found: _Beginnings) -> Tensor:
    """Compute a block's output at the end tokens alone."""
    attention, heads = block.attn, block.attn.num_heads
    normed_UD = block.ln_1(hidden_UD)
    ends_N = found.node.gather(1, found.end[:, None])[:, 0]
    width = hidden_UD.shape[1]
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    q_ND = F.linear(normed_UD[ends_N], weight[:width], bias[:width])
    kv_UE = F.linear(normed_UD, weight[width:], bias[width:])
    k_NHLC, v_NHLC = (
        part.unflatten(-1, (heads, -1)).transpose(1, 2)
        for part in kv_UE[found.node].chunk(2, dim=-1)
    )
    q_NH1C = q_ND.unflatten(-1, (heads, -1))[:, :, None]
    is_text_NL = torch.arange(found.node.shape[1]) <= found.end[:, None]
    seen_NH1C = F.scaled_dot_product_attention(
        q_NH1C, k_NHLC, v_NHLC, attn_mask=is_text_NL[:, None, None]
    )
    return _rest_of_block(block, hidden_UD[ends_N], seen_NH1C.flatten(1))


def _rest_of_block(block: "ResidualAttentionBlock", hidden: Tensor, seen: Tensor) -> Tensor:
    hidden = hidden + block.ls_1(block.attn.out_proj(seen))
    return hidden + block.ls_2(block.mlp(block.ln_2(hidden)))
