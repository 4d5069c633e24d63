"""Train open_clip's own trainer for a few steps on shards that `export` wrote.

Shows that the shards are what others expect. The trainer needs webdataset up to 0.2.86, so this
runs in an environment of its own, on a CPU:

    uv venv /tmp/openclip && uv pip install --python /tmp/openclip/bin/python \
        'open_clip_torch>=3.3,<4' 'webdataset>=0.2.5,<=0.2.86' torch torchvision pandas
    kedro run --pipelines export
    /tmp/openclip/bin/python benchmarks/train_exported_with_open_clip.py \
        data/07_model_output/exported/cit_trained

It prints the losses and ends with an error unless each step has a finite one.
"""

import json
import math
import re
import sys
import tempfile
from pathlib import Path

import open_clip
from open_clip_train.main import main as train

BATCH_SIZE = 32  # pairs
MODEL = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "head_width": 32, "layers": 2},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}


def main() -> None:
    exported = Path(sys.argv[1])
    sizes = json.loads((exported / "sizes.json").read_text())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "tiny.json").write_text(json.dumps(MODEL))
        open_clip.add_model_config(folder / "tiny.json")
        train(
            [
                f"--train-data={exported}/{{{min(sizes)[:-4]}..{max(sizes)[:-4]}}}.tar",
                "--dataset-type=webdataset",
                "--model=tiny",
                "--precision=fp32",
                "--epochs=1",
                "--workers=1",
                f"--batch-size={BATCH_SIZE}",
                "--warmup=2",
                "--log-every-n-steps=1",
                f"--logs={folder}",
                "--name=exported",
            ]
        )
        log = (folder / "exported/out.log").read_text()
    losses = [float(value) for value in re.findall(r"Contrastive_loss: (\S+)", log)]
    expected = math.ceil(sum(sizes.values()) / BATCH_SIZE)
    print(f"{sum(sizes.values())} pairs, {len(losses)} of {expected} steps, losses {losses}")
    if len(losses) != expected or not all(math.isfinite(loss) for loss in losses):
        sys.exit("open_clip's trainer did not take every step with a finite loss")


if __name__ == "__main__":
    main()
