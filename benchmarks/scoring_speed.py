"""What it costs to score captions in one round of CiT, beside two other ways to do it.

    OMP_NUM_THREADS=1 python benchmarks/scoring_speed.py [--captions FILE.txt.gz ...]
        [--num 4000] [--num-large 256] [--num-targets 1000] [--rounds 3]
        [--num-pool 64000] [--curations 7]

Every caption is compared with every target text under the text tower as it is now; the score is the
largest cosine similarity. Same weights, captions and target texts for all:

ours:            tokens from a memory-mapped file, `TextEncoder` in batches of one length,
                 `TargetSimilarity` asked block by block, as a round of training asks it.
streaming:       shards through webdataset (captions alone are unpacked), open_clip's tokenizer,
                 padded to 77 tokens, the same matmul.
streaming, images: the same where images are unpacked and decoded on the way, as a loader made for
                 training does. Given for orientation; nothing is held against this row.
released:        as CiT's released code goes about it: captions in memory, tokenised each time they
                 are read, one call each, cut and padded to 32 tokens, matmul, then the maximum.
                 (open_clip's tokenizer stands in for BERT's, whose single calls take longer.)

Target texts are encoded once a round, and a round of the released configuration scans at least
102,400 captions (100 steps of 1,024): that share of their cost is added to each caption's.
Released code encodes them one by one, the others at once; a part of them is measured.

The second table: rounds of CiT over a pool that is passed several times, while the small tower is
trained (rounds_with_skipping.py). Given are rounds that begin in the second pass or later: the
whole choice (calibration, targets, samples, audit) by CPU time a pair scanned; how many times that
`released` takes for a caption of this pool, measured in each round, and scoring every pair with the
code of `ours`; and how much of the choice is the same with the same weights.

Scores have to be equal to 1e-4; with `released`, those of captions that 32 tokens hold.

Towers: `small`, the text tower of the default configuration with a context of 77 in the place of
32, so that no caption is cut; and ViT-B/32's. Both with random weights.
"""

import argparse
import copy
import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import open_clip
import pyarrow as pa
import rounds_with_skipping
import torch
from side_by_side import circumstances, shown, spread, table, take_turns, write_results
from torch import Tensor, nn
from webdataset import filters
from webdataset.pipeline import DataPipeline
from webdataset.shardlists import SimpleShardList
from webdataset.tariterators import tarfile_to_samples

from vl_pipeline.curation.target_similarity import TargetSimilarity, ThresholdMode
from vl_pipeline.data.tokens import Tokens, fill_tokens, read_tokens, tokenize
from vl_pipeline.embedding.encode import TextEncoder
from vl_pipeline.models.dual_encoder import DualEncoder, unit
from vl_pipeline.models.towers import CONFIG_FOLDER, DualEncoderConfig
from vl_pipeline.training.looks import PoolLooks

CIT_RULE = TargetSimilarity(
    threshold=0.55, threshold_mode=ThresholdMode.ABSOLUTE, min_keep_fraction=0.003, block_size=1024
)
SMALL = "resnet-tiny-64"
SHORT = 32  # tokens, released code's max_bert_length
SCANNED_A_ROUND = 102_400
TOLERANCE = 1e-4
BATCH_SIZE = 64  # of the other ways: on a CPU larger ones are slower
PICTURES = 64
PER_SHARD = 1000
NUM_RELEASED, NUM_RELEASED_TARGETS = 2000, 100  # measured in each round over a pool


@dataclass(frozen=True)
class Bench:
    """What is scored, and by what."""

    model: DualEncoder
    captions: list[str]
    tokens: Tokens
    target_texts: list[str]
    target_tokens: Tokens
    shards: list[str]

    @cached_property
    def trunk(self) -> nn.Module:
        return self.model.text_tower.trunk

    @cached_property
    def short_trunk(self) -> nn.Module:
        """The same tower with fewer positions: causal, so a short text's features are equal."""
        trunk: Any = copy.deepcopy(self.trunk)
        trunk.positional_embedding = nn.Parameter(trunk.positional_embedding[:SHORT].detach())
        trunk.attn_mask = trunk.attn_mask[:SHORT, :SHORT]
        trunk.context_length = trunk.num_pos = SHORT
        return trunk

    @cached_property
    def targets(self) -> np.ndarray:
        return TextEncoder(self.model, torch.device("cpu")).features(self.target_tokens)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--captions", type=Path, nargs="+", help="gzipped, one a line")
    parser.add_argument("--num", type=int, default=4000, help="captions, small tower")
    parser.add_argument("--num-large", type=int, default=256, help="captions, ViT-B/32")
    parser.add_argument("--num-targets", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num-pool", type=int, default=64_000, help="captions, passed repeatedly")
    parser.add_argument(
        "--curations",
        type=int,
        default=7,
        help="rounds over that pool, if each fills; shorter ones are more",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = os.getloadavg()
    rows, data, found = [], {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, tower, num, num_measured in (
            ("small", small_tower(Path(folder)), arguments.num, 200),
            ("ViT-B/32", "ViT-B-32", arguments.num_large, 20),
        ):
            print(name, flush=True)
            place = Path(folder) / name.replace("/", "-")
            place.mkdir()
            bench = prepare(place, tower, num, arguments)
            rows += measure(name, bench, num_measured, arguments.rounds, data)
        skipping = measure_skipping(Path(folder), arguments, found)
    lengths = data["small"]["tokens_of_captions"]
    source = "given lists" if arguments.captions else "made up with the lengths of LAION's"
    page = (
        table(
            ["tower", "variant", "µs CPU a caption", "of it targets", "µs wall", "over ours"], rows
        )
        + f"\nCaptions: {source}; tokens {lengths}. {arguments.num_targets} target texts, their "
        f"cost shared by {SCANNED_A_ROUND:,} captions. Largest difference of scores: "
        + ", ".join(f"{n} {d['largest_difference']:.1e}" for n, d in data.items())
        + " (`released` on the "
        + ", ".join(f"{d['num_fitting']} of {d['num_captions']}" for d in data.values())
        + f" captions that {SHORT} tokens hold: it cuts the rest).\n\n"
        + skipping
    )
    about = circumstances(started)
    write_results(
        "scoring_speed", title="Scoring captions", about=about, page=page, data=data | found
    )


def small_tower(folder: Path) -> str:
    """Register the default model with a context of 77."""
    config = json.loads((CONFIG_FOLDER / f"{SMALL}.json").read_text())
    config["text_cfg"]["context_length"] = 77
    (folder / f"{SMALL}-77.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{SMALL}-77.json")
    return f"{SMALL}-77"


def prepare(
    folder: Path, tower: str, num: int, arguments: argparse.Namespace, *, with_shards: bool = True
) -> Bench:
    """What is done once, before any round: weights, tokens, shards."""
    texts = (
        made_up.read_captions(arguments.captions, num)
        if arguments.captions
        else made_up.captions(num)
    )
    targets = list(dict.fromkeys(open_clip.IMAGENET_CLASSNAMES))[: arguments.num_targets]
    config = DualEncoderConfig(name=tower, pretrained=None, temperature=0.07, min_temperature=0.01)
    pictures = made_up.photographs(PICTURES, shorter_px=256)
    shards = []
    for start in range(0, num if with_shards else 0, PER_SHARD):
        shard = folder / f"{start // PER_SHARD:05d}.tar"
        pairs = enumerate(texts[start : start + PER_SHARD], start)
        made_up.write_shard(shard, ((f"{n:09d}", pictures[n % PICTURES], t) for n, t in pairs))
        shards.append(str(shard))
    fill_tokens(folder, tokenize(texts, tokenized))
    return Bench(
        model=DualEncoder(config, seed=0).eval(),
        captions=texts,
        tokens=read_tokens(folder),
        target_texts=targets,
        target_tokens=tokenize(targets, tokenized),
        shards=shards,
    )


def measure(
    name: str, bench: Bench, num_targets: int, rounds: int, data: dict[str, Any]
) -> list[list[str]]:
    _ = bench.targets, bench.short_trunk  # made before the clock starts
    variants: dict[str, Callable[[], np.ndarray]] = {
        "ours": partial(ours, bench, CIT_RULE),
        "streaming": partial(streaming, bench, with_images=False),
        "streaming, images": partial(streaming, bench, with_images=True),
        "released": partial(released, bench),
    }
    targets: dict[str, Callable[[], np.ndarray]] = {
        "at once": partial(targets_at_once, bench, num_targets),
        "one by one": partial(targets_one_by_one, bench, num_targets),
    }
    turns = take_turns(variants, rounds=rounds)
    target_turns = take_turns(targets, rounds=rounds)
    scores = {variant: taken[-1].result for variant, taken in turns.items()}
    fits = bench.tokens.lengths <= SHORT
    differences = [
        np.abs(score - scores["ours"])[fits if variant == "released" else slice(None)].max()
        for variant, score in scores.items()
    ]
    assert max(differences) <= TOLERANCE, dict(zip(scores, differences, strict=True))

    share = len(bench.target_texts) / num_targets / SCANNED_A_ROUND
    costs = {}
    for variant, taken in turns.items():
        how = target_turns["one by one" if variant == "released" else "at once"]
        pairs = list(zip(taken, how, strict=True))
        costs[variant] = {
            "cpu": [1e6 * (t.cpu_seconds / len(fits) + share * e.cpu_seconds) for t, e in pairs],
            "wall": [1e6 * (t.wall_seconds / len(fits) + share * e.wall_seconds) for t, e in pairs],
            "targets": [1e6 * share * e.cpu_seconds for e in how],
        }
    over = {
        v: spread([a / b for a, b in zip(c["cpu"], costs["ours"]["cpu"], strict=True)], 2)
        for v, c in costs.items()
    }
    quantiles = np.quantile(bench.tokens.lengths, [0.5, 0.9, 0.99]).round().astype(int)
    data[name] = {
        "num_captions": len(fits),
        "num_fitting": int(fits.sum()),
        "tokens_of_captions": f"mean {bench.tokens.lengths.mean():.1f}, median {quantiles[0]}, "
        f"90 % {quantiles[1]}, 99 % {quantiles[2]}",
        "largest_difference": float(max(differences)),
        "microseconds_a_caption": {
            v: {kind: spread(values, 1) for kind, values in c.items()} for v, c in costs.items()
        },
        "over_ours": over,
    }
    spreads = data[name]["microseconds_a_caption"]
    return [
        [name, v, shown(s["cpu"]), s["targets"]["median"], shown(s["wall"]), shown(over[v])]
        for v, s in spreads.items()
    ]


def measure_skipping(folder: Path, arguments: argparse.Namespace, data: dict[str, Any]) -> str:
    """Rounds over a pool that is passed repeatedly, with and without scores of earlier rounds."""
    print("rounds", flush=True)
    place = folder / "rounds"
    place.mkdir()
    bench = prepare(place, f"{SMALL}-77", arguments.num_pool, arguments, with_shards=False)
    part = dataclasses.replace(
        bench, model=copy.deepcopy(bench.model), captions=bench.captions[:NUM_RELEASED]
    )
    _ = part.targets, part.short_trunk  # made before the clock starts

    def released_once() -> float:
        turns = take_turns(
            {
                "released": partial(released, part),
                "targets one by one": partial(targets_one_by_one, part, NUM_RELEASED_TARGETS),
            },
            rounds=1,
        )
        captions, targets = (turn[0].cpu_seconds for turn in turns.values())
        share = len(part.target_texts) / NUM_RELEASED_TARGETS / SCANNED_A_ROUND
        return 1e6 * (captions / NUM_RELEASED + share * targets)

    passages = rounds_with_skipping.run(
        bench.model,
        bench.captions,
        bench.tokens,
        target_texts=bench.target_texts,
        target_tokens=bench.target_tokens,
        num_rounds=arguments.curations,
        folder=place,
        released=released_once,
    )
    found = {name: rounds_with_skipping.summary(rounds) for name, rounds in passages.items()}
    data["rounds_with_skipping"] = {"num_pool": len(bench.tokens), "by_miss_rate": found}
    return table(
        [
            "small tower, `miss_rate`",
            "µs CPU a pair scanned",
            "`released` over it",
            "all scored over it",
            "% not scored",
            "% the same",
            "% of passes missed",
            "as audited",
        ],
        [
            [
                name,
                *(shown(f[key]) for key in ("microseconds", "over_released", "over_all")),
                *(shown(f[key]) for key in ("skipped", "same", "missed", "estimated")),
            ]
            for name, f in found.items()
        ],
    )


def tokenized(texts: Sequence[str], length: int = 77) -> np.ndarray:
    """open_clip's tokenizer as it comes: the tower's context, zeros behind the end token."""
    return TOKENIZER(list(texts), context_length=length).numpy()


TOKENIZER = open_clip.tokenizer.SimpleTokenizer()


def ours(bench: Bench, curator: TargetSimilarity) -> np.ndarray:
    """Score as a round does: the curator is asked for one block after the other."""
    pool = pa.table({"caption": bench.captions})
    encoder = TextEncoder(bench.model, torch.device("cpu"))
    look = PoolLooks(
        encoder,
        pool,
        bench.tokens,
        target_texts=bench.target_texts,
        target_tokens=bench.target_tokens,
    ).now()
    rows = np.arange(len(bench.captions))
    scores = []
    for start in range(0, len(rows), curator.block_size):
        candidates = look(rows[start : start + curator.block_size])
        candidates.__dict__["target_features"] = bench.targets  # their cost is measured apart
        scores.append(curator.select(candidates).score)
    return np.concatenate(scores)


@torch.inference_mode()
def streaming(bench: Bench, *, with_images: bool) -> np.ndarray:
    """Stream the shards, tokenise what comes, and encode it at the tower's whole context."""
    targets = torch.from_numpy(bench.targets)
    scores = []
    for texts in batches_of_shards(bench.shards, with_images=with_images):
        scores.append(best(bench.trunk, tokenized(texts), targets))
    return torch.cat(scores).numpy()


def batches_of_shards(shards: list[str], *, with_images: bool) -> Iterator[list[str]]:
    steps = [SimpleShardList(shards)]
    if with_images:
        steps += [tarfile_to_samples(), filters.decode("pilrgb"), filters.to_tuple("txt", "jpg")]
    else:
        only_text = tarfile_to_samples(select_files=lambda name: name.endswith(".txt"))
        steps += [only_text, filters.decode(), filters.to_tuple("txt")]
    pipeline = DataPipeline(*steps, filters.batched(BATCH_SIZE, partial=True))
    return (list(batch[0]) for batch in pipeline)


@torch.inference_mode()
def released(bench: Bench) -> np.ndarray:
    """Tokenise each caption as it is read, at 32 tokens, and stack what comes."""
    targets = torch.from_numpy(bench.targets)
    loader = torch.utils.data.DataLoader(ReadCaptions(bench.captions), batch_size=BATCH_SIZE)
    return torch.cat([best(bench.short_trunk, tokens, targets) for tokens in loader]).numpy()


class ReadCaptions(torch.utils.data.Dataset):
    """Captions in memory, tokenised when one is read."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, number: int) -> Tensor:
        return TOKENIZER([self._texts[number]], context_length=SHORT)[0]


def best(trunk: nn.Module, tokens: np.ndarray | Tensor, targets: Tensor) -> Tensor:
    return (unit(trunk(torch.as_tensor(tokens))) @ targets.T).max(dim=1).values


def targets_at_once(bench: Bench, num: int) -> np.ndarray:
    encoder = TextEncoder(bench.model, torch.device("cpu"))
    return encoder.features(bench.target_tokens, np.arange(num))


@torch.inference_mode()
def targets_one_by_one(bench: Bench, num: int) -> np.ndarray:
    """One forward each, padded to its own length, as released code pads labels."""
    features = []
    for text in bench.target_texts[:num]:
        tokens = TOKENIZER([text], context_length=SHORT)
        features.append(unit(bench.short_trunk(tokens)))
    return torch.cat(features).numpy()


if __name__ == "__main__":
    main()
