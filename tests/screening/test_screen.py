import dataclasses
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.fakes import LIMITS, pair_members, write_tar
from vl_pipeline.data.ledger import count_by_rule
from vl_pipeline.data.shards import index_shard
from vl_pipeline.data.tasks import Tasks
from vl_pipeline.errors import ShardError
from vl_pipeline.screening.evaluation_images import TaskImages
from vl_pipeline.screening.leaks import plain_text
from vl_pipeline.screening.parameters import Duplicates, ImageEncoder, LeakGate, Screening
from vl_pipeline.screening.screen import Screened, screen_pool

SCREENING = Screening(
    block_list=None,
    leaks=LeakGate(
        same_image=True,
        max_hash_bits=72,
        max_colour_difference=0.25,
        min_similarity=0.95,
        min_caption_characters=12,
    ),
    duplicates=Duplicates(
        same_image=False, max_hash_bits=52, max_colour_difference=0.16, min_similarity=0.95
    ),
    encoder=None,
    num_examples=2,
)
OFF = dataclasses.replace(
    SCREENING,
    leaks=LeakGate(
        same_image=False,
        max_hash_bits=None,
        max_colour_difference=0.25,
        min_similarity=None,
        min_caption_characters=None,
    ),
    duplicates=dataclasses.replace(SCREENING.duplicates, max_hash_bits=None),
)


def blobs(number: int, *, quality: int = 90, crop: int = 0, side: int = 64) -> bytes:
    """A picture of random blobs; with another quality, crop or side, a near duplicate of it."""
    small = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((96, 96), Image.Resampling.BICUBIC)
    image = image.crop((crop, crop, 96, 96)).resize((side, side))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def screened(tmp_path, pool: list[tuple[bytes, str]], screening: Screening = OFF) -> Screened:
    """Screen a pool of (image, caption); the task has pictures 100 and 101, and one caption."""
    parts = [
        pair_members(f"{n:03d}", image=image, caption=caption)
        for n, (image, caption) in enumerate(pool)
    ]
    pairs = index_shard(write_tar(tmp_path / "pool/0.tar", *parts), "0.tar", LIMITS).pairs
    asked = [
        pair_members("s0", image=blobs(100), caption="Two dogs, on a beach!\nDogs"),
        pair_members("s1", image=blobs(101), caption="short"),
    ]
    write_tar(tmp_path / "tasks/seen/test/0.tar", *asked)
    (tmp_path / "tasks/seen/dataset_type.txt").write_text("retrieval")
    (tmp_path / "tasks/only_names").mkdir(exist_ok=True)
    tasks = Tasks(folder=str(tmp_path / "tasks"), curate_for=("only_names",), evaluate_on=("seen",))
    return screen_pool(
        pairs, screening, folder=tmp_path / "pool", tasks=tasks, cache=tmp_path / "cache"
    )


def with_duplicates(**changes) -> Screening:
    return dataclasses.replace(OFF, duplicates=dataclasses.replace(OFF.duplicates, **changes))


def test_leaks_are_charged_to_what_shows_them(tmp_path):
    pool = [
        (blobs(100), "its bytes"),
        (blobs(101, quality=50, side=50), "saved again"),
        (blobs(1), "two dogs on a BEACH"),
        (blobs(2), "short"),
        (blobs(3), "none of these"),
    ]

    result = screened(tmp_path, pool, SCREENING)

    rules = dict(
        zip(result.ledger["rule"].to_pylist(), result.ledger["key"].to_pylist(), strict=True)
    )
    assert rules == {"leaked_image": "000", "leaked_near_image": "001", "leaked_caption": "002"}
    assert result.pairs["key"].to_pylist() == ["003", "004"]
    assert result.report["num_evaluation_images"] == 2
    assert result.evidence["matched_to"].to_pylist() == [
        "seen/test/0",
        "seen/test/1",
        "seen/test/0",
    ]


def test_what_is_off_turns_nothing_away(tmp_path):
    pool = [
        (blobs(100), "its bytes"),
        (blobs(1), "one"),
        (blobs(1), "two"),
        (blobs(1, side=50), ""),
    ]
    pool = [(image, caption or "three") for image, caption in pool]

    assert screened(tmp_path, pool, OFF).ledger.num_rows == 0


def test_a_task_without_images_cannot_be_protected(tmp_path):
    tasks = Tasks(folder=str(tmp_path), curate_for=("gone",), evaluate_on=("gone",))
    pairs = screened(tmp_path, [(blobs(1), "one")]).pairs

    with pytest.raises(ShardError, match=r"gone has no folder test or val"):
        screen_pool(pairs, SCREENING, folder=tmp_path / "pool", tasks=tasks, cache=tmp_path)


def test_image_of_a_task_that_cannot_be_decoded_is_named(tmp_path):
    asked = [pair_members("s0", image=blobs(1)), pair_members("s1", image=b"no image")]
    write_tar(tmp_path / "seen/val/0.tar", *asked)
    (tmp_path / "seen/dataset_type.txt").write_text("retrieval")
    tasks = Tasks(folder=str(tmp_path), curate_for=("seen",), evaluate_on=("seen",))

    with pytest.raises(ShardError, match=r"image seen/val/1: no image of a known format"):
        TaskImages(tasks).describe()


def test_near_duplicate_goes_and_all_captions_of_the_first_file_stay(tmp_path):
    pool = [
        (blobs(1), "one"),
        (blobs(2), "another picture"),
        (blobs(1, quality=40, side=50), "saved again"),
        (blobs(1), "the same file, in other words"),
    ]

    result = screened(tmp_path, pool, with_duplicates(max_hash_bits=52))

    assert result.pairs["key"].to_pylist() == ["000", "001", "003"]
    (row,) = result.ledger.to_pylist()
    assert row["rule"] == "near_duplicate_image"
    assert row["value"].endswith(f"bits from {result.pairs['uid'][0].as_py()}")
    assert result.report["near_duplicate_image"] == {
        "num_rejected": 1,
        "num_matched": 1,
        "largest_group": 2,
    }


def test_same_shapes_in_other_colours_are_two_pictures(tmp_path):
    pixels = np.asarray(Image.open(io.BytesIO(blobs(1))).convert("RGB"))
    grey = np.repeat(np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None], 3, axis=2)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=90)

    result = screened(
        tmp_path, [(blobs(1), "one"), (file.getvalue(), "grey")], with_duplicates(max_hash_bits=52)
    )

    assert result.pairs.num_rows == 2


def test_equal_bytes_go_by_parameter_whatever_the_caption(tmp_path):
    pool = [(blobs(1), "one"), (blobs(2), "two"), (blobs(1), "three")]

    result = screened(tmp_path, pool, with_duplicates(same_image=True))

    assert count_by_rule(result.ledger) == {"duplicate_image": 1}
    assert result.pairs["key"].to_pylist() == ["000", "001"]


def test_an_encoder_finds_what_bytes_and_hashes_are_not_asked_for(tmp_path):
    encoder = ImageEncoder(name="resnet-tiny-64", pretrained=None, batch_size=4, num_threads=1)
    leaks = dataclasses.replace(OFF.leaks, min_similarity=0.9999)
    rules = with_duplicates(min_similarity=0.9999)
    pool = [(blobs(100), "leaks"), (blobs(1), "one"), (blobs(1, quality=91), "again")]

    result = screened(tmp_path, pool, dataclasses.replace(rules, leaks=leaks, encoder=encoder))

    charged = dict(
        zip(result.ledger["key"].to_pylist(), result.ledger["rule"].to_pylist(), strict=True)
    )
    assert charged == {"000": "leaked_embedding", "002": "semantic_duplicate_image"}


def seeing(monkeypatch, embed) -> ImageEncoder:
    """An encoder whose embedding of compressed bytes is given."""

    def encode_images(_, images, **__) -> np.ndarray:
        vectors = np.array([embed(image) for image in images], dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    monkeypatch.setattr("vl_pipeline.screening.image_embeddings.encode_images", encode_images)
    return ImageEncoder(name="resnet-tiny-64", pretrained=None, batch_size=4, num_threads=1)


def without_left_and_right(data: bytes) -> np.ndarray:
    """Pixels of an image and its mirror image together: the same for both."""
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((8, 8)), dtype=float)
    return (pixels + pixels[:, ::-1]).ravel() - 2 * pixels.mean()


def test_a_mirrored_leak_is_found_by_its_embedding_alone(tmp_path, monkeypatch):
    mirrored = io.BytesIO()
    Image.open(io.BytesIO(blobs(101))).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(
        mirrored, "JPEG", quality=80
    )
    pool = [(blobs(1), "one"), (mirrored.getvalue(), "mirrored"), (blobs(2), "two")]
    encoder = seeing(monkeypatch, without_left_and_right)

    by_looks = screened(tmp_path / "looks", pool, SCREENING)
    by_both = screened(tmp_path / "both", pool, dataclasses.replace(SCREENING, encoder=encoder))

    assert by_looks.ledger.num_rows == 0
    (row,) = by_both.ledger.to_pylist()
    assert (row["key"], row["rule"]) == ("001", "leaked_embedding")
    assert row["value"].endswith("from seen/test/1")
    assert by_both.pairs["key"].to_pylist() == ["000", "002"]


def test_a_chain_of_similar_embeddings_is_one_group_and_its_first_stays(tmp_path, monkeypatch):
    degrees = {blobs(1): 0, blobs(2): 30, blobs(3): 15, blobs(4): 60, blobs(5): 75}
    pool = [(image, f"at {degree}") for image, degree in degrees.items()]
    encoder = seeing(
        monkeypatch,
        lambda image: [np.cos(np.radians(degrees[image])), np.sin(np.radians(degrees[image]))],
    )
    rules = with_duplicates(min_similarity=round(float(np.cos(np.radians(20))), 3))

    result = screened(tmp_path, pool, dataclasses.replace(rules, encoder=encoder))

    # 0 and 30 are too far apart, and one through 15; 30 and 60 have nothing between them.
    assert result.pairs["caption"].to_pylist() == ["at 0", "at 60"]
    assert count_by_rule(result.ledger) == {"semantic_duplicate_image": 3}
    first, other = result.pairs["uid"].to_pylist()
    stays = [row["value"].rpartition(" ")[2] for row in result.ledger.to_pylist()]
    assert stays == [first, first, other]
    assert result.report["semantic_duplicate_image"]["largest_group"] == 3


def test_embeddings_are_computed_once(tmp_path, monkeypatch):
    encoder = ImageEncoder(name="resnet-tiny-64", pretrained=None, batch_size=4, num_threads=1)
    rules = dataclasses.replace(OFF, encoder=encoder)
    first = screened(tmp_path, [(blobs(1), "one"), (blobs(2), "two")], rules)
    monkeypatch.setattr(
        "vl_pipeline.screening.image_embeddings.encode_images", lambda *_, **__: pytest.fail()
    )

    again = screened(tmp_path, [(blobs(1), "one"), (blobs(2), "two")], rules)

    assert first.pairs.equals(again.pairs)


def test_evidence_shows_the_most_doubtful_beside_what_stayed(tmp_path):
    copies = [(blobs(1, quality=q, crop=c), f"copy {c}") for q, c in ((80, 0), (60, 0), (40, 1))]

    result = screened(tmp_path, [(blobs(1), "first"), *copies], with_duplicates(max_hash_bits=90))

    shown = result.evidence.to_pylist()
    assert len(shown) == SCREENING.num_examples
    assert {s["unit"] for s in shown} == {"bits"}
    assert [s["distance"] for s in shown] == sorted((s["distance"] for s in shown), reverse=True)
    for example in shown:
        assert example["matched_caption"] == "first"
        for name in ("thumbnail", "matched_thumbnail"):
            assert max(Image.open(io.BytesIO(example[name])).size) <= 96


def test_images_that_stay_most_often_are_shown_in_their_order(tmp_path):
    times = {1: 1, 2: 3, 3: 2, 4: 4}
    pool = [(blobs(n), f"{n} {m}") for n, count in times.items() for m in range(count)]

    result = screened(tmp_path, pool)

    shown = result.evidence.to_pylist()
    hashes = dict(
        zip(result.pairs["uid"].to_pylist(), result.pairs["image_hash"].to_pylist(), strict=True)
    )
    assert [row["rule"] for row in shown] == ["repeated_image"] * SCREENING.num_examples
    assert [row["caption"] for row in shown] == ["4 0", "2 0"]
    assert [row["matched_to"] for row in shown] == [hashes[row["uid"]] for row in shown]
    assert max(Image.open(io.BytesIO(shown[0]["thumbnail"])).size) == 64


def test_an_empty_pool_passes(tmp_path):
    pairs = screened(tmp_path, [(blobs(1), "one")]).pairs.slice(0, 0)
    tasks = Tasks(folder=str(tmp_path / "tasks"), curate_for=("seen",), evaluate_on=("seen",))

    result = screen_pool(pairs, SCREENING, folder=tmp_path, tasks=tasks, cache=tmp_path)

    assert result.pairs.num_rows == result.ledger.num_rows == 0


@settings(deadline=None, max_examples=10)
@given(st.lists(st.tuples(st.sampled_from([1, 2, 100]), st.integers(0, 2)), max_size=6))
def test_every_pair_is_kept_or_in_the_ledger_once(tmp_path_factory, drawn):
    pool = [(blobs(1), "first")] + [(blobs(n, crop=c), f"{c}") for n, c in drawn]
    rules = dataclasses.replace(
        SCREENING, duplicates=dataclasses.replace(SCREENING.duplicates, same_image=True)
    )

    result = screened(tmp_path_factory.mktemp("pool"), pool, rules)

    keys = result.pairs["key"].to_pylist() + result.ledger["key"].to_pylist()
    assert [f"{n:03d}" for n in range(len(pool))] == sorted(keys)


def test_captions_are_compared_by_letters_and_digits():
    assert plain_text("Two  dogs, on a BEACH!") == "two dogs on a beach"
    assert plain_text("ﬁne Straße") == "fine strasse"
    assert plain_text("...") == ""
