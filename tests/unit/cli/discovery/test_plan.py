"""What is decided about models, and how it is written down."""

from __future__ import annotations

from pathlib import Path

import pytest

from swapd.cli.discovery.find import find_models
from swapd.cli.discovery.fit import GIB, Memory, detect_memory, fit
from swapd.cli.discovery.plan import Plan, make_plan
from swapd.cli.discovery.text import configuration
from swapd.config import Config, loads
from tests.unit.cli.discovery.files import Value, write_model

SHAPE: dict[str, Value] = {
    "context_length": 40_960,
    "block_count": 36,
    "embedding_length": 4096,
    "attention__head_count": 32,
    "attention__head_count_kv": 8,
    "attention__key_length": 128,
    "attention__value_length": 128,
}
"""Of Qwen3 8B: 144 KiB of KV cache a token, 4.5 GiB for 32,768."""
ONE_GPU = Memory(64 * GIB, 24 * GIB, 1)
NO_GPU = Memory(32 * GIB)


def planned(directory: Path, memory: Memory = ONE_GPU) -> Plan:
    return make_plan(find_models([directory]).models, memory)


def written(plan: Plan) -> str:
    return configuration(plan, server="llama-server", server_found=True, store=Path("/var/lib/swapd/a.db"))


def accepted(text: str) -> Config:
    """The configuration, which must load without a single remark that does not depend on the machine."""
    loaded = loads(text, environ={})
    assert [str(problem) for problem in loaded.problems] == []
    assert loaded.config is not None
    return loaded.config


@pytest.mark.parametrize(
    ("size_gib", "memory", "context", "layers", "possible"),
    [
        (5, ONE_GPU, 32_768, None, True),
        (18, ONE_GPU, 16_384, None, True),
        (20, ONE_GPU, 8192, None, True),
        (40, ONE_GPU, 4096, 19, True),  # 22.1 GiB, less what a process needs, of 40.6 GiB in 36 layers
        (80, ONE_GPU, 4096, 9, False),
        (5, NO_GPU, 32_768, None, True),
        (22, NO_GPU, 8192, None, True),
        (30, NO_GPU, 4096, None, False),
    ],
)
def test_given_a_model_and_a_machine_when_fitted_then_the_context_is_the_largest_that_fits(
    tmp_path: Path, size_gib: int, memory: Memory, context: int, layers: int | None, possible: bool
) -> None:
    write_model(tmp_path / "m.gguf", size=size_gib * GIB, architecture="qwen3", **SHAPE)
    [model] = find_models([tmp_path]).models

    how = fit(model, memory)

    assert (how.context, how.gpu_layers, how.possible) == (context, layers, possible)


def test_given_a_model_that_was_trained_for_little_when_fitted_then_it_gets_no_more(tmp_path: Path) -> None:
    write_model(tmp_path / "m.gguf", architecture="llama", context_length=2048, block_count=2)
    [model] = find_models([tmp_path]).models
    assert fit(model, NO_GPU).context == 2048


def test_given_models_when_written_down_then_the_configuration_runs_them(tmp_path: Path) -> None:
    write_model(tmp_path / "Qwen3-8B-Q4_K_M.gguf", size=5 * GIB, architecture="qwen3", **SHAPE)
    write_model(tmp_path / "nomic-embed-f16.gguf", architecture="nomic-bert", pooling_type=1)
    write_model(tmp_path / "bge-reranker.gguf", architecture="bert", pooling_type=4)
    write_model(tmp_path / "seer" / "Seer-Q4_0.gguf", architecture="llama", **SHAPE)
    write_model(tmp_path / "seer" / "mmproj-Seer.gguf", architecture="clip")

    config = accepted(written(planned(tmp_path)))

    argv = {id: " ".join(model.argv) for id, model in config.models.items()}
    assert set(argv) == {"qwen3-8b", "nomic-embed", "bge-reranker", "seer"}
    port = config.models["qwen3-8b"].port
    assert argv["qwen3-8b"] == (
        f"llama-server --host 127.0.0.1 --port {port} --model {tmp_path}/Qwen3-8B-Q4_K_M.gguf "
        "--ctx-size 32768 --n-gpu-layers 99"
    )
    assert argv["nomic-embed"].endswith("nomic-embed-f16.gguf --embeddings --n-gpu-layers 99")
    assert "--reranking" in argv["bge-reranker"]
    assert f"--mmproj {tmp_path}/seer/mmproj-Seer.gguf" in argv["seer"]
    assert config.models["seer"].capabilities.inputs == ("text", "image")
    assert config.models["bge-reranker"].capabilities.reranker
    assert config.global_ttl_s == 600


def test_given_two_that_fit_at_once_when_written_down_then_the_example_works_as_it_stands(
    tmp_path: Path,
) -> None:
    write_model(tmp_path / "chat.gguf", size=5 * GIB, architecture="qwen3", **SHAPE)
    write_model(tmp_path / "embed.gguf", architecture="bert", pooling_type=1)
    text = written(planned(tmp_path))

    example = text[text.index("# routing:") :]
    config = accepted(text + "".join(line.removeprefix("# ") + "\n" for line in example.splitlines()))

    assert config.routing.matrix is not None


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("adapter", {"general__type": "adapter"}, "--lora"),
        ("owl-draft", {}, "--model-draft"),
        ("a-00001-of-00002", {}, "are missing: 2"),
        ("a${b}", {}, "takes for a macro"),
        ("a\nb", {}, "control character"),
    ],
)
def test_given_a_file_that_cannot_be_served_when_written_down_then_it_is_mentioned_with_the_reason(
    tmp_path: Path, name: str, values: dict[str, str], reason: str
) -> None:
    write_model(tmp_path / f"{name}.gguf", **values)
    text = written(planned(tmp_path))
    assert accepted(text).models == {}
    assert reason in text


def test_given_a_model_that_is_too_large_when_written_down_then_it_says_what_it_needs(tmp_path: Path) -> None:
    write_model(tmp_path / "huge.gguf", size=200 * GIB, **SHAPE)
    assert "it needs about 20" in written(planned(tmp_path))


@pytest.mark.parametrize(
    "name",
    [
        "it's",
        'say "hi"',
        "back\\slash",
        "# no comment",
        "a: b",
        "tab here",
        "ü – ñ",
        "[x]",
        "--flag",
        "%TEMP% $HOME",
    ],
)
def test_given_a_name_that_would_be_read_otherwise_when_written_down_then_the_server_gets_the_file(
    tmp_path: Path, name: str
) -> None:
    path = write_model(tmp_path / f"{name}.gguf", general__name=f"{name} ${{PORT}}")

    [model] = accepted(written(planned(tmp_path))).models.values()

    assert str(path) in model.argv


def test_given_names_that_clean_to_the_same_when_planned_then_each_has_an_id_of_its_own(
    tmp_path: Path,
) -> None:
    for name in ("one/Owl-Q4_K_M", "one/Owl-Q8_0", "two/Owl-Q8_0", "Wren 7B-UD-Q4_K_XL", "###"):
        write_model(tmp_path / f"{name}.gguf")
    ids = [entry.id for entry in planned(tmp_path).entries]
    assert sorted(ids) == ["model", "owl-q4_k_m", "owl-q8_0", "owl-q8_0-2", "wren-7b"]


def test_given_a_container_with_a_limit_when_its_memory_is_asked_for_then_that_counts(tmp_path: Path) -> None:
    limit = tmp_path / "sys/fs/cgroup/memory.max"
    limit.parent.mkdir(parents=True)
    limit.write_text("max\n")
    whole = detect_memory(tmp_path).ram
    limit.write_text("1048576\n")
    assert detect_memory(tmp_path).ram == 1048576 < whole
