"""Files that a stranger could have written are refused, by name, and nothing in them is run."""

import json
import os
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.fakes import build_model
from tests.projects import copy_project, run
from vl_pipeline.errors import CheckpointError, ParameterError
from vl_pipeline.models.towers import DualEncoderConfig, build_towers
from vl_pipeline.models.weights import load_model, save_model

CPU = torch.device("cpu")


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.sign}",)


def config_of(name: str = "resnet-tiny-64", pretrained: str | None = None) -> DualEncoderConfig:
    return DualEncoderConfig(
        name=name, pretrained=pretrained, temperature=0.07, min_temperature=0.01
    )


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    save_model(build_model("resnet-tiny-64"), config_of(), folder)
    return folder


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "weights.safetensors")
    change(tensors)
    save_file(tensors, folder / "weights.safetensors")


def lie_in_header(folder: Path, **lie: object) -> None:
    """Let the first tensor's entry in the header say something that is not so."""
    file = folder / "weights.safetensors"
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header[next(name for name in header if name != "__metadata__")].update(lie)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def write_model_json(folder: Path, text: str) -> None:
    (folder / "model.json").write_text(text)


def model_json(**changes: object) -> str:
    values = {"name": "resnet-tiny-64", "pretrained": None, "temperature": 0.07}
    return json.dumps(values | {"min_temperature": 0.01} | changes)


HOSTILE_CHECKPOINTS = {
    "a header longer than the file": lambda f: (f / "weights.safetensors").write_bytes(
        struct.pack("<Q", 2**62) + b"{}"
    ),
    "a shape that is not so": lambda f: lie_in_header(f, shape=[2**40, 2**40]),
    "bytes beyond the end": lambda f: lie_in_header(f, data_offsets=[0, 2**50]),
    "bytes before the beginning": lambda f: lie_in_header(f, data_offsets=[-8, 8]),
    "a type that does not exist": lambda f: lie_in_header(f, dtype="CODE"),
    "a tensor too many": lambda f: change_tensors(f, lambda t: t.update(evil=torch.ones(3))),
    "a tensor too few": lambda f: change_tensors(f, lambda t: t.popitem()),
    "another shape": lambda f: change_tensors(f, lambda t: t.update(log_temperature=torch.ones(9))),
    "no JSON": lambda f: write_model_json(f, "{"),
    "JSON of another kind": lambda f: write_model_json(f, "[1, 2]"),
    "JSON nested without end": lambda f: write_model_json(f, "[" * 200_000),
    "an unknown field": lambda f: write_model_json(f, model_json(run="rm -rf /")),
    "a model on a hub": lambda f: write_model_json(f, model_json(name="hf-hub:evil/model")),
    "a model in a folder": lambda f: write_model_json(f, model_json(name="local-dir:/tmp")),
    "a path for a name": lambda f: write_model_json(f, model_json(name="../../../etc/passwd")),
    "a tower of another library": lambda f: write_model_json(
        f, model_json(name="roberta-ViT-B-32")
    ),
    "a temperature that is none": lambda f: write_model_json(f, model_json(temperature=-1)),
}


@pytest.mark.parametrize("harm", HOSTILE_CHECKPOINTS.values(), ids=HOSTILE_CHECKPOINTS)
def test_a_hostile_checkpoint_is_refused_by_name(
    checkpoint: Path, harm: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.socket.connect", _no_network)
    harm(checkpoint)

    with pytest.raises(CheckpointError, match=str(checkpoint)):
        load_model(checkpoint, device=CPU)


def test_a_pickle_under_the_name_of_safetensors_is_refused_and_not_run(
    checkpoint: Path, tmp_path: Path
) -> None:
    sign = tmp_path / "sprung"
    (checkpoint / "weights.safetensors").write_bytes(pickle.dumps(Trap(sign)))

    with pytest.raises(CheckpointError, match="only safetensors"):
        load_model(checkpoint, device=CPU)

    assert not sign.exists()


def test_the_pretrained_weights_a_checkpoint_names_are_not_loaded(checkpoint: Path) -> None:
    write_model_json(checkpoint, model_json(pretrained="/nowhere/evil.pt"))

    load_model(checkpoint, device=CPU)


def pickled(path: Path, sign: Path) -> None:
    path.write_bytes(pickle.dumps(Trap(sign)))


def saved_by_torch(path: Path, sign: Path) -> None:
    torch.save({"state_dict": Trap(sign)}, path)


def scripted(path: Path, sign: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))


def objects_of_numpy(path: Path, sign: Path) -> None:
    np.savez(path, **{"params/t": np.array([Trap(sign)], dtype=object)})


HOSTILE_WEIGHTS = {
    "pickle.pt": pickled,
    "pickle.bin": pickled,
    "pickle.safetensors": pickled,
    "torch.pt": saved_by_torch,
    "script.pt": scripted,
    "objects.npz": objects_of_numpy,
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("name", "write"), HOSTILE_WEIGHTS.items(), ids=HOSTILE_WEIGHTS)
def test_pretrained_weights_that_are_more_than_tensors_are_refused_and_not_run(
    tmp_path: Path, name: str, write: Callable[[Path, Path], None]
) -> None:
    sign = tmp_path / "sprung"
    write(tmp_path / name, sign)

    with pytest.raises(ParameterError, match=f"(?s){name}.*safetensors"):
        build_towers(config_of(pretrained=str(tmp_path / name)))

    assert not sign.exists()


UNREADABLE_PARAMETERS = {
    "call": (
        b'pool:\n  folder: !!python/object/apply:os.system ["touch {sign}"]\n',
        r", line 2: .*'!!python/object/apply:os.system'; write .* no tags",
    ),
    "name": (b"a: !!python/name:os.system x\n", ", line 1: .*'!!python/name:os.system'; write"),
    "name twice": (b"a: 1\na: 2\n", ", line 2: .* found duplicate key a; write .* each name once"),
    "open bracket": (b"a: 1\nb: [c\n", ", line 3: .* starts in line 2, .*; correct it: close"),
    "tab": (b"pool:\n\tfolder: a\n", r", line 2: .* '\\t' .*; correct it: .* indent by spaces"),
    "no text": (b"a: \xff\n", ": 'utf-8' codec .*; save it as UTF-8"),
    "list": (b"- a\n", " holds a list; save it as .* `name: value` lines"),
    "number": (b"42\n", ": .*int; save it as .* `name: value` lines"),
    "environment": (
        b"pool:\n  folder: ${oc.env:HOME}\n",
        r", line 2: pool\.folder has no value \(.*oc\.env\); .* cannot read the environment",
    ),
    "no such name": (
        b"pool:\n  a: [1, '${no.such}']\n",
        r", line 2: pool\.a\[1\] has no value \(.*'no\.such' not found\); write the value itself",
    ),
    "open brace": (b"a: ${b\n", r", line 1: a has no value \(.*; write the value itself"),
    "set": (b"a: !!set {b}\n", r", line 1: a has no value \(.*'set'.*; write the value itself"),
}


@pytest.mark.parametrize(
    ("text", "message"), UNREADABLE_PARAMETERS.values(), ids=UNREADABLE_PARAMETERS
)
def test_a_parameter_file_of_more_or_less_than_values_is_refused_by_line_and_calls_nothing(
    tmp_path: Path, text: bytes, message: str
) -> None:
    project = copy_project(tmp_path / "project")
    sign = tmp_path / "sprung"
    file = project / "conf/local/parameters_evil.yml"
    file.write_bytes(text.replace(b"{sign}", str(sign).encode()))

    with pytest.raises(ParameterError, match=re.escape(str(file)) + message):
        run(project, "ingest", env="local")

    assert not sign.exists()
    assert not (project / "data").exists()


def test_a_value_of_the_command_line_that_reads_the_environment_is_not_laid_on_a_file(
    tmp_path: Path,
) -> None:
    project = copy_project(tmp_path)

    with pytest.raises(ParameterError, match=r"^--params: pool\.folder has no value"):
        run(project, "ingest", params={"pool": {"folder": "${oc.env:HOME}"}})


def _no_network(*_: object) -> None:
    raise AssertionError("loading a checkpoint reached for the network")
