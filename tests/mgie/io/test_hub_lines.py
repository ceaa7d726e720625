"""The lines that say how a model is fetched from the Hub name what is taken of it, and no more."""

import shlex

import pytest

from mgie.io.hub import config_from_hub, model_from_hub


@pytest.mark.parametrize("config_alone", [False, True])
def test_the_line_for_a_model_fetches_the_files_that_it_would_have_taken(monkeypatch, config_alone):
    taken = []

    def out_of_reach(*_: object, allow_patterns: tuple[str, ...] = (), **__: object) -> None:
        taken.extend(allow_patterns)
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", out_of_reach)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", out_of_reach)
    with pytest.raises(FileNotFoundError) as whole:
        model_from_hub("owner/name", "main")
    error = whole
    if config_alone:
        with pytest.raises(FileNotFoundError) as error:
            config_from_hub("owner/name", None, "--rewrite")
    words = shlex.split(str(error.value).partition("hf download ")[2].partition(")")[0])
    assert words[0] == "owner/name" and words[-2:] in (["--revision", "main"], ["--local-dir", "DIR"])
    assert [words[i + 1] for i, word in enumerate(words) if word == "--include"] == taken
    assert "*.safetensors" in taken and not any("bin" in pattern for pattern in taken)
