import json

import pytest
from support.similarity_samples import catalog

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import LlmseqError
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.models.session_knn import SKNN, SessionKNNSettings


@pytest.fixture
def saved(tmp_path):
    """The folder of a saved model."""
    model = SKNN(SessionKNNSettings(), 4)
    model.fit(Sessions.from_lists([[0, 1], [1, 2, 3]]), FitContext(catalog(4)))
    model.save(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"model": "sknn", "n_items": 4, "settings": {"gone": 1}}, "sknn has no setting 'gone'"),
        ({"model": "sknn", "settings": {}}, "it lacks 'n_items'"),
    ],
)
def test_settings_of_another_version_are_no_wrong_usage(saved, about, message):
    (saved / "model.json").write_text(json.dumps(about))
    with pytest.raises(LlmseqError, match=f"saved by another version of llmseq: {message}") as error:
        SKNN.load(saved)
    assert error.value.exit_code == 1
    assert error.value.hint == "train it again"


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"{"])
def test_missing_and_damaged_files_are_named(saved, name, content):
    (saved / name).unlink()
    if content is not None:
        (saved / name).write_bytes(content)
    with pytest.raises(LlmseqError, match="cannot read the model in"):
        SKNN.load(saved)
