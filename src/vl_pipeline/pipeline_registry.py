"""The table of contents: every pipeline that `kedro run --pipelines NAME` can run.

The stages that do not depend on a method stand by their names; each method is the sum of those
and of its own curate, train and evaluate, in its namespace.
"""

from kedro.pipeline import Pipeline

from vl_pipeline.method import Method
from vl_pipeline.methods import all_methods
from vl_pipeline.pipelines.affected.pipeline import create_pipeline as create_affected
from vl_pipeline.pipelines.cit_sweep.pipeline import create_pipeline as create_cit_sweep
from vl_pipeline.pipelines.count.pipeline import create_pipeline as create_count
from vl_pipeline.pipelines.curate.pipeline import create_pipeline as create_curate
from vl_pipeline.pipelines.download.pipeline import create_pipeline as create_download
from vl_pipeline.pipelines.embed.pipeline import create_pipeline as create_embed
from vl_pipeline.pipelines.evaluate.pipeline import create_pipeline as create_evaluate
from vl_pipeline.pipelines.export.pipeline import create_pipeline as create_export
from vl_pipeline.pipelines.fabricate.pipeline import create_pipeline as create_fabricate
from vl_pipeline.pipelines.ingest.pipeline import create_pipeline as create_ingest
from vl_pipeline.pipelines.score.pipeline import create_pipeline as create_score
from vl_pipeline.pipelines.screen.pipeline import create_pipeline as create_screen
from vl_pipeline.pipelines.train.pipeline import create_pipeline as create_train
from vl_pipeline.pipelines.validate.pipeline import create_pipeline as create_validate

SHARED_PARAMETERS = ("pool", "tasks", "model", "text_start", "training", "evaluation")


def register_pipelines() -> dict[str, Pipeline]:
    """Register the stages, the methods, and `cit` as the default."""
    stages = {
        "fabricate": create_fabricate(),
        "download": create_download(),
        "ingest": create_ingest(),
        "screen": create_screen(),
        "validate": create_validate(),
        "embed": create_embed(),
        "count": create_count(),
        "score": create_score(),
        "export": create_export(),
    }
    methods = {
        method.name: sum((stages[name] for name in _shared_stages(method)), Pipeline([]))
        + _method_pipeline(method)
        for method in all_methods()
    }
    shared = sum((stages[name] for name in ("ingest", "screen", "validate", "embed")), Pipeline([]))
    sweep = shared + create_cit_sweep(list(methods))
    return {
        **stages,
        **methods,
        "cit_sweep": sweep,
        "affected": create_affected(),
        "__default__": methods["cit"],
    }


def _shared_stages(method: Method) -> list[str]:
    stages = ["ingest", "screen", "validate"]
    stages += [] if method.has_own_towers else ["embed"]
    stages += ["count"] if method.needs_counts else []
    return stages + (["score"] if method.needs_pair_scores else [])


def _method_pipeline(method: Method) -> Pipeline:
    own = create_curate(method) + create_train(method) + create_evaluate()
    embedded = () if method.has_own_towers else ("tokens", "text_start", "embeddings")
    shared = {name: name for name in embedded}
    shared |= {"pair_scores": "pair_scores"} if method.needs_pair_scores else {}
    shared["pool"] = "counted_pool" if method.needs_counts else "pool"
    pipeline = _in_namespace(own, method, shared=shared)
    if method.has_own_towers:
        shared = {name: name for name in ("pool", "text_start_cache")}
        embed = create_embed(encode_captions=method.needs_caption_features)
        pipeline += _in_namespace(embed, method, shared=shared)
    return pipeline


def _in_namespace(pipeline: Pipeline, method: Method, *, shared: dict[str, str]) -> Pipeline:
    """Put stages under a method's name, but for what it shares with the other methods."""
    blocks = {f"params:{name}" for name in SHARED_PARAMETERS if name not in method.own}
    return Pipeline(
        pipeline,
        namespace=method.name,
        inputs=shared,
        parameters=blocks & pipeline.inputs(),
    )
