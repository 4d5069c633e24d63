"""Every error the project raises on purpose.

    VlPipelineError
    ├── ParameterError (ValueError)   a parameter has a value the project cannot work with
    ├── ShardError                    a shard, or a task folder, is not what it claims to be
    ├── PoolError                     the pool breaks its contract, or its accounts do not add up
    ├── CurationError                 a curator left nothing (or too little) to train on
    ├── TrainingError                 training cannot go on, for example a loss that is not finite
    ├── CheckpointError               a checkpoint is missing, incomplete or belongs to another run
    ├── InUseError                    another run is at work on the same data
    ├── DiskFullError (OSError)       there is no room for what is being written
    └── TrackingError                 MLflow's store cannot be opened, read or written

Each message names the place, the value, what is accepted, and what to do next.
"""


class VlPipelineError(Exception):
    """Base of everything the project raises on purpose."""


class ParameterError(VlPipelineError, ValueError):
    """A parameter has a value the project cannot work with, or its file cannot be read."""


class ShardError(VlPipelineError):
    """A shard, or a task folder, cannot be read as what it claims to be."""


class PoolError(VlPipelineError):
    """The pool breaks its contract, or a stage's accounts do not add up."""


class CurationError(VlPipelineError):
    """A curator left nothing, or too little, to train on."""


class TrainingError(VlPipelineError):
    """Training cannot go on, for example because the loss is not finite."""


class CheckpointError(VlPipelineError):
    """A checkpoint is missing, incomplete, or belongs to another run."""


class InUseError(VlPipelineError):
    """Another run is at work on the same data."""


class DiskFullError(VlPipelineError, OSError):
    """There is no room for what is being written."""


class TrackingError(VlPipelineError):
    """MLflow's store cannot be opened, read or written."""
