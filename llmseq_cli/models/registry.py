"""All recommenders by name. A new model is one file and one line here, or a plug-in of another package."""

from __future__ import annotations

from importlib import import_module

from llmseq_cli.errors import UsageError, did_you_mean
from llmseq_cli.models.recommender import Recommender
from llmseq_cli.plugins import MODELS, load_plugin, plugin_names

# Module names, not imports: listing is free, and a model is imported only when it is used.
_MODELS = {
    "most-popular": "llmseq_cli.models.popularity:MostPopular",
    "sknn": "llmseq_cli.models.session_knn:SKNN",
    "v-sknn": "llmseq_cli.models.session_knn:VSKNN",
    "s-sknn": "llmseq_cli.models.session_knn:SSKNN",
    "sf-sknn": "llmseq_cli.models.session_knn:SFSKNN",
    "sknn-emb": "llmseq_cli.models.sknn_emb:SKNNEmb",
    "gru4rec": "llmseq_cli.models.gru4rec:GRU4Rec",
    "sasrec": "llmseq_cli.models.sasrec:SASRec",
    "esasrec": "llmseq_cli.models.esasrec:ESASRec",
    "hstu": "llmseq_cli.models.hstu:HSTU",
    "semantic-ids": "llmseq_cli.models.semantic_ids:SemanticIds",
    "bert4rec": "llmseq_cli.models.bert4rec:BERT4Rec",
    "s3rec": "llmseq_cli.models.s3rec:S3Rec",
    "llmseqsim": "llmseq_cli.models.llmseqsim:LLMSeqSim",
    "hybrid-sequential": "llmseq_cli.models.hybrid_sequential:HybridSequential",
    "hybrid-popularity": "llmseq_cli.models.hybrid_popularity:HybridPopularity",
    "embedding-ensemble": "llmseq_cli.models.embedding_ensemble:EmbeddingEnsemble",
    "blend": "llmseq_cli.models.blend:Blend",
    "stack": "llmseq_cli.models.stack:Stack",
}

_NOT_TRAINED = {"rerank": "llmseq_cli.models.reranked:Reranked"}
"""Models made by separate commands; blends can use them like all others."""


def model_names() -> list[str]:
    """All model names; plug-ins come last and cannot replace a built-in model."""
    return [*_MODELS, *(name for name in plugin_names(MODELS) if name not in _MODELS)]


def model_class(name: str) -> type[Recommender]:
    """The class of the model with this name. Raises UsageError with the closest name if there is none."""
    if name not in model_names() and name not in _NOT_TRAINED:
        raise UsageError(f"no model is called '{name}'", did_you_mean(name, model_names()))
    known = _MODELS | _NOT_TRAINED
    if name not in known:
        return load_plugin(MODELS, name, Recommender)  # type: ignore[type-abstract]
    module, _, attribute = known[name].partition(":")
    found: type[Recommender] = getattr(import_module(module), attribute)
    return found
