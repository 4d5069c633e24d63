"""Retrieval: find an image's captions among all captions, and a caption's image among all images.

An image may have several captions; it counts as found when any of them is among the first k
(the convention of CLIP_benchmark and of the papers that report Flickr30k and COCO).
"""

import numpy as np
from jaxtyping import Float32, Int64

from vl_pipeline.evaluation.ranking import rank_of, similarity_blocks

RECALL_AT = (1, 5, 10)


def retrieval_metrics(
    image_embeddings: Float32[np.ndarray, "images d"],
    caption_embeddings: Float32[np.ndarray, "captions d"],
    image_of_caption: Int64[np.ndarray, " captions"],
) -> dict[str, float]:
    """Measure retrieval both ways.

    Args:
        image_embeddings: Unit length.
        caption_embeddings: Unit length.
        image_of_caption: The image each caption describes.

    Returns:
        `image_to_text_recall_at_<k>` and `text_to_image_recall_at_<k>` for k = 1, 5, 10, in
        [0, 1] (1 where there are k candidates or fewer); `chance_recall_at_1`, expected of a
        random ranking in both directions; `num_images` and `num_captions`.

    Raises:
        ValueError: If there is no image, an image has no caption, or an embedding is not finite.
    """
    num_images, num_captions = len(image_embeddings), len(caption_embeddings)
    if not num_images:
        raise ValueError("a retrieval without images has no recall")
    bare = np.flatnonzero(np.bincount(image_of_caption, minlength=num_images) == 0)
    if len(bare):
        raise ValueError(f"image {bare[0]} has no caption; {len(bare)} of {num_images} have none")
    ranks = {
        "image_to_text": ranks_of_best_caption(
            image_embeddings, caption_embeddings, image_of_caption
        ),
        "text_to_image": ranks_of_image(caption_embeddings, image_embeddings, image_of_caption),
    }
    return {
        **{
            f"{way}_recall_at_{k}": float((r < k).mean())
            for way, r in ranks.items()
            for k in RECALL_AT
        },
        # Image i has c_i of m captions: the mean of c_i / m over n images is 1 / n.
        "chance_recall_at_1": 1 / num_images,
        "num_images": num_images,
        "num_captions": num_captions,
    }


def ranks_of_best_caption(
    image_embeddings: Float32[np.ndarray, "images d"],
    caption_embeddings: Float32[np.ndarray, "captions d"],
    image_of_caption: Int64[np.ndarray, " captions"],
) -> Int64[np.ndarray, " images"]:
    """Rank all captions for each image and say where the first of its own stands, from 0."""
    ranks = np.empty(len(image_embeddings), dtype=np.int64)
    for rows, similarity in similarity_blocks(image_embeddings, caption_embeddings):
        images = np.arange(rows.start, rows.stop)
        own = np.where(image_of_caption == images[:, None], similarity, -np.inf)
        ranks[rows] = rank_of(own.argmax(axis=1), similarity)
    return ranks


def ranks_of_image(
    caption_embeddings: Float32[np.ndarray, "captions d"],
    image_embeddings: Float32[np.ndarray, "images d"],
    image_of_caption: Int64[np.ndarray, " captions"],
) -> Int64[np.ndarray, " captions"]:
    """Rank all images for each caption and say where its own stands, from 0."""
    ranks = np.empty(len(caption_embeddings), dtype=np.int64)
    for rows, similarity in similarity_blocks(caption_embeddings, image_embeddings):
        ranks[rows] = rank_of(image_of_caption[rows], similarity)
    return ranks
