"""Which files are models, and which of them belong together."""

from __future__ import annotations

from pathlib import Path

import pytest

from swapd.cli.discovery.find import Findings, Kind, find_models, usual_places
from tests.unit.cli.discovery.files import write_model


def found(directory: Path) -> Findings:
    return find_models([directory])


def test_given_folders_of_files_when_searched_then_each_model_is_there_once(tmp_path: Path) -> None:
    # Given a cache as Hugging Face's: the names are links to files that are named by their contents
    blob = write_model(tmp_path / "hub" / "blobs" / "3f2a")
    link = tmp_path / "hub" / "snapshots" / "1" / "Owl-Q4_K_M.gguf"
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    # And the same file under a second name, something else, and a link that leads nowhere
    (tmp_path / "hub" / "snapshots" / "2").mkdir()
    (tmp_path / "hub" / "snapshots" / "2" / "Owl-Q4_K_M.gguf").symlink_to(blob)
    (tmp_path / "notes.txt").write_text("no model")
    (tmp_path / "gone.gguf").symlink_to(tmp_path / "nowhere")
    (tmp_path / "broken.gguf").write_text("no model either")

    findings = found(tmp_path)

    assert [model.path for model in findings.models] == [link]
    assert {each.path.name: each.reason for each in findings.skipped} == {
        "gone.gguf": "No such file or directory",
        "broken.gguf": "it does not begin like a GGUF file",
    }


def test_given_a_model_in_several_files_when_all_are_there_then_it_is_one(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write_model(tmp_path / f"Big-0000{number}-of-00003.gguf", size=1000)

    [model] = found(tmp_path).models

    assert (model.path.name, model.stem) == ("Big-00001-of-00003.gguf", "Big")
    assert (model.size_bytes, model.missing_shards) == (3000, ())


def test_given_a_model_in_several_files_when_some_are_missing_then_it_says_which(tmp_path: Path) -> None:
    write_model(tmp_path / "Big-00002-of-00004.gguf")
    write_model(tmp_path / "Big-00004-of-00004.gguf")
    [model] = found(tmp_path).models
    assert model.missing_shards == (1, 3)


def test_given_projectors_when_they_lie_beside_models_then_each_model_gets_its_own(tmp_path: Path) -> None:
    write_model(tmp_path / "one" / "Seer-7B-Q4_0.gguf", size=1000)
    write_model(tmp_path / "one" / "mmproj-Seer-7B-f16.gguf", architecture="clip", size=500)
    write_model(tmp_path / "one" / "mmproj-Other-f16.gguf", architecture="clip")
    write_model(tmp_path / "two" / "Blind-Q4_0.gguf")

    blind, seer = sorted(found(tmp_path).models, key=lambda model: model.stem)

    assert seer.projector == tmp_path / "one" / "mmproj-Seer-7B-f16.gguf"
    assert (seer.size_bytes, blind.projector) == (1500, None)


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("Owl-8B-Q4_K_M", {}, Kind.CHAT),
        ("nomic", {"architecture": "nomic-bert", "pooling_type": 1}, Kind.EMBEDDING),
        ("Qwen3-Embedding-0.6B", {"architecture": "qwen3"}, Kind.EMBEDDING),
        ("bge", {"architecture": "bert", "pooling_type": 4}, Kind.RERANKER),
        ("Qwen3-Reranker-0.6B", {"architecture": "qwen3"}, Kind.RERANKER),
        ("style-lora", {"general__type": "adapter"}, Kind.ADAPTER),
        ("Owl-0.5B-draft-Q8_0", {}, Kind.DRAFT),
        ("Draftsman-7B", {}, Kind.CHAT),
    ],
)
def test_given_a_file_when_it_is_read_then_it_is_known_what_it_is_for(
    tmp_path: Path, name: str, values: dict[str, str], kind: Kind
) -> None:
    write_model(tmp_path / f"{name}.gguf", **values)
    [model] = found(tmp_path).models
    assert model.kind is kind


def test_given_nothing_is_named_when_asked_then_the_usual_caches_are_searched(tmp_path: Path) -> None:
    assert usual_places({}, tmp_path)[:2] == [
        tmp_path / ".cache/huggingface/hub",
        tmp_path / ".cache/llama.cpp",
    ]
    elsewhere = {"HF_HOME": "/hf", "LLAMA_CACHE": "/llama", "XDG_CACHE_HOME": "/cache"}
    assert usual_places(elsewhere, tmp_path)[:2] == [Path("/hf/hub"), Path("/llama")]
    assert find_models([tmp_path / "nowhere"]) == Findings((), ())
