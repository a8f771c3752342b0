"""Writes tiny, valid GGUF models that a real llama.cpp server loads in milliseconds. Standard library only.

    python -m swapd.testing.gguf OUT.gguf [--kind chat|tool|embedding|rerank] [--seed 1] [--name tiny]

The kinds:

chat       Greedy decoding (temperature 0) answers every prompt with `CHAT_TEXT` and ends the turn
           (finish_reason "stop"). With a temperature the answer varies with the seed. With `ignore_eos`
           it says '"' and starts again, for ever: for tests of cancelling and of time limits. That '"'
           also ends a string where a grammar (json_schema) forbids the end of the turn, so that the JSON
           comes out whole. Works for chat, completion, infill, tokenize.
tool       The same, but begins every answer with `<tool_call>`: with "tools" in the request, llama.cpp's
           grammar makes it a whole call of the first tool, each string argument " Paris".
embedding  The chat net with mean pooling, for `--embeddings`. Vectors depend on the text but mean nothing.
rerank     The same net with a two-label head and a "rerank" prompt template, for `--reranking`.

How the answer is made: the two layers are faint random noise; embeddings and output matrix are built by
hand as a bigram table. Dimension 0 of an embedding is 1 for every token (a bias), dimension 1 is 1 for a
token outside the chain, and each chain word has a direction of its own, orthogonal to the others, along
which the output matrix puts the next word first. Control tokens, byte tokens and word fragments are biased
away.
"""

from __future__ import annotations

import math
import random
import re
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

from swapd.testing.gguf_file import GGUFWriter, TokenType, ValueType
from swapd.testing.gguf_templates import CHAT_TEMPLATE, RERANK_TEMPLATE

Kind = Literal["chat", "tool", "embedding", "rerank"]

CHAT_TEXT = "Hello! I am a tiny test model. My weights were written by hand, so this text never changes"
"""What a chat model answers at temperature 0; the tokenizer puts a space before it."""

END_OF_TURN = "<|im_end|>"

_SPACE = "▁"
"""SentencePiece's mark for a space."""

_NEXT = 12.0
"""Logit of a bigram's next word."""
_AFTER_NEXT = 10.5
"""Logit of the word after the next: sampling, even with a min_p of 0.05, now and then skips a word."""
_QUOTE = 9.0
"""Logit of '"' after the last word, for when the end of the turn is forbidden."""
_UNLIKELY = -6.0
"""Logit of what is printable but not in the chain."""
_NEVER = -40.0
"""Logit of control, byte and fragment tokens."""

_LAYERS, _WIDTH, _HEADS, _KV_HEADS, _HEAD_WIDTH, _FEED_FORWARD = 2, 64, 4, 2, 32, 128
_GAIN = math.sqrt(_WIDTH / 2.0)
"""About what the last RMS norm multiplies by."""

_CALL_TOKENS = ("<tool_call>", "</tool_call>")
_CONTROL_TOKENS = (
    *("<unk>", "<s>", "</s>", "<|im_start|>", END_OF_TURN),
    *("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
)
_CHAIN = tuple(re.findall(r"\w+|[!.,]", CHAT_TEXT))
_COMMON_TEXT = "the of to in is it you that he was for on are with as his they at be from"

_SPECIAL_IDS = {
    "unknown": "<unk>",
    "bos": "<s>",
    "eos": END_OF_TURN,
    "eot": END_OF_TURN,
    "padding": "</s>",
    "fim_pre": "<|fim_prefix|>",
    "fim_suf": "<|fim_suffix|>",
    "fim_mid": "<|fim_middle|>",
    "fim_pad": "<|fim_pad|>",
    "fim_rep": "<|repo_name|>",
    "fim_sep": "<|file_sep|>",
}

_POOLING = {"embedding": 1, "rerank": 4}
"""llama.cpp's pooling types: mean, rank."""

Matrix = list[list[float]]


def write_tiny_model(
    path: Path | str, *, kind: Kind = "chat", seed: int = 1, name: str = "tiny", context: int = 32768
) -> None:
    """Write a model of that kind to `path`; about 600 KB, in a fraction of a second.

    `seed` chooses the noise: models of different seeds differ in their sampled answers and their vectors.
    `name` and `context` (trained context length, tokens) go into the metadata.
    """
    noise = random.Random(seed)
    vocabulary = _Vocabulary()
    writer = GGUFWriter()
    _describe(writer, vocabulary, kind, name, context)
    _add_bigrams(writer, vocabulary, kind, noise)
    for layer in range(_LAYERS):
        _add_layer(writer, layer, kind, noise)
    if kind == "rerank":
        writer.tensor("cls.output.weight", _noise(noise, 2, _WIDTH, 1.0), half=False)
    writer.write(Path(path))


class _Vocabulary:
    """The tokens, and which of them may come out of the model."""

    def __init__(self) -> None:
        printable = [_SPACE, *map(chr, range(33, 127))]
        spoken = [word for word in (*_CHAIN, *_COMMON_TEXT.split(), "Paris") if word[0].isalpha()]
        words = list(dict.fromkeys(_SPACE + word for word in spoken))
        # Every prefix of a word too: the tokenizer reaches a word by merging its way up to it.
        prefixes = [word[:length] for word in words for length in range(2, len(word) + 1)]
        self.pieces = list(dict.fromkeys((*printable, *prefixes)))
        self._groups: list[tuple[Sequence[str], TokenType]] = [
            (_CONTROL_TOKENS[:1], TokenType.UNKNOWN),
            (_CONTROL_TOKENS[1:], TokenType.CONTROL),
            (_CALL_TOKENS, TokenType.USER_DEFINED),
            ([f"<0x{byte:02X}>" for byte in range(256)], TokenType.BYTE),
            (self.pieces, TokenType.NORMAL),
        ]
        self.tokens = [token for tokens, _ in self._groups for token in tokens]
        self.ids = {token: index for index, token in enumerate(self.tokens)}
        self.speakable = {*printable, *words}

    @property
    def types(self) -> list[int]:
        return [kind for tokens, kind in self._groups for _ in tokens]

    @property
    def scores(self) -> list[float]:
        """Merge priorities: the earlier a piece is listed, the sooner it is merged."""
        return [0.0] * (len(self.tokens) - len(self.pieces)) + [-float(n) for n in range(len(self.pieces))]

    def id_of(self, word: str) -> int:
        """The token of a word: that with a space before it, for punctuation and markers the bare one."""
        return self.ids[_SPACE + word if word[0].isalpha() else word]


def _describe(writer: GGUFWriter, vocabulary: _Vocabulary, kind: Kind, name: str, context: int) -> None:
    """The metadata: architecture, tokenizer, templates."""
    arch = _architecture(kind)
    writer.value("general.architecture", ValueType.STRING, arch)
    writer.value("general.name", ValueType.STRING, name)
    writer.value("general.file_type", ValueType.U32, 1)  # mostly F16
    for key, value in (
        ("context_length", context),
        ("embedding_length", _WIDTH),
        ("block_count", _LAYERS),
        ("feed_forward_length", _FEED_FORWARD),
        ("attention.head_count", _HEADS),
        ("attention.head_count_kv", _KV_HEADS),
        ("attention.key_length", _HEAD_WIDTH),
        ("attention.value_length", _HEAD_WIDTH),
        ("rope.dimension_count", _HEAD_WIDTH),
        ("vocab_size", len(vocabulary.tokens)),
    ):
        writer.value(f"{arch}.{key}", ValueType.U32, value)
    writer.value(f"{arch}.rope.freq_base", ValueType.F32, 10000.0)
    writer.value(f"{arch}.attention.layer_norm_rms_epsilon", ValueType.F32, 1e-5)
    if kind in _POOLING:
        writer.value(f"{arch}.pooling_type", ValueType.U32, _POOLING[kind])
    writer.value("tokenizer.ggml.model", ValueType.STRING, "llama")
    writer.value("tokenizer.ggml.pre", ValueType.STRING, "default")
    writer.array("tokenizer.ggml.tokens", ValueType.STRING, vocabulary.tokens)
    writer.array("tokenizer.ggml.scores", ValueType.F32, vocabulary.scores)
    writer.array("tokenizer.ggml.token_type", ValueType.I32, vocabulary.types)
    for key, token in _SPECIAL_IDS.items():
        writer.value(f"tokenizer.ggml.{key}_token_id", ValueType.U32, vocabulary.ids[token])
    for key in ("add_bos_token", "add_eos_token", "add_space_prefix"):
        writer.value(f"tokenizer.ggml.{key}", ValueType.BOOL, False)
    writer.value("tokenizer.chat_template", ValueType.STRING, CHAT_TEMPLATE)
    if kind == "rerank":
        writer.array("tokenizer.chat_templates", ValueType.STRING, ["rerank"])
        writer.value("tokenizer.chat_template.rerank", ValueType.STRING, RERANK_TEMPLATE)
        writer.array(f"{arch}.classifier.output_labels", ValueType.STRING, ["yes", "no"])


def _architecture(kind: Kind) -> str:
    """llama.cpp knows a classifier head on top of qwen3, not on top of llama."""
    return "qwen3" if kind == "rerank" else "llama"


def _add_bigrams(writer: GGUFWriter, vocabulary: _Vocabulary, kind: Kind, noise: random.Random) -> None:
    """Embedding and output matrix that make each word call for the next one of the chain."""
    ids = vocabulary.ids
    words = (_CALL_TOKENS[0], END_OF_TURN) if kind == "tool" else (*_CHAIN, END_OF_TURN)
    chain = [vocabulary.id_of(word) for word in words]
    directed = (
        [*chain, ids['"'], vocabulary.id_of("Paris"), ids[_CALL_TOKENS[1]]] if kind == "tool" else chain
    )
    embeddings = _embeddings(len(vocabulary.tokens), directed, noise)
    output = _biases(vocabulary, directed)

    def follow(current: int, following: int, logit: float) -> None:
        for k in range(2, _WIDTH):
            output[following][k] += embeddings[current][k] * (logit - output[following][0])

    for current, following in pairwise(chain):
        follow(current, following, _NEXT)
    for current, following in zip(chain, chain[2:-1], strict=False):
        follow(current, following, _AFTER_NEXT)
    if kind == "tool":
        follow(ids['"'], vocabulary.id_of("Paris"), _NEXT)
        follow(vocabulary.id_of("Paris"), ids['"'], _NEXT)
        follow(ids[_CALL_TOKENS[1]], ids[END_OF_TURN], _NEXT)
    else:
        follow(chain[-2], ids['"'], _QUOTE)
    follow(chain[-1], chain[0], _NEXT)
    output[chain[0]][1] += _NEXT  # any token outside the chain starts it
    writer.tensor("token_embd.weight", embeddings)
    writer.tensor("output_norm.weight", [1.0] * _WIDTH, half=False)
    writer.tensor("output.weight", [[x / _GAIN for x in row] for row in output])


def _embeddings(count: int, directed: list[int], noise: random.Random) -> Matrix:
    basis = _orthonormal(_WIDTH - 2, lambda: noise.gauss(0.0, 1.0))
    # Outside the chain a little noise tells the tokens apart.
    rows = [[1.0, 1.0, *(noise.gauss(0.0, 0.05) for _ in range(_WIDTH - 2))] for _ in range(count)]
    for direction, token in zip(basis, directed, strict=False):
        rows[token] = [1.0, 0.0, *direction]
    return rows


def _biases(vocabulary: _Vocabulary, directed: list[int]) -> Matrix:
    """An output matrix that only says how likely each token is without regard to the last one."""
    output = [[0.0] * _WIDTH for _ in vocabulary.tokens]
    for token, row in zip(vocabulary.tokens, output, strict=True):
        row[0] = _UNLIKELY if token in vocabulary.speakable else _NEVER
    for token, extra in (("]", 2), ("}", 2), (",", 1)):  # so that a grammar's lists and objects end
        output[vocabulary.ids[token]][0] += extra
    for index in directed:
        output[index][0] = 0.0
    return output


def _add_layer(writer: GGUFWriter, layer: int, kind: Kind, noise: random.Random) -> None:
    prefix = f"blk.{layer}."
    # Faint for chat, whose answer must not depend on the layers; more where scores must differ.
    strength = (1.5 if kind == "rerank" else 0.15) / 8
    attention, shared = _HEADS * _HEAD_WIDTH, _KV_HEADS * _HEAD_WIDTH
    writer.tensor(prefix + "attn_norm.weight", [1.0] * _WIDTH, half=False)
    writer.tensor(prefix + "attn_q.weight", _noise(noise, attention, _WIDTH, 1.0))
    writer.tensor(prefix + "attn_k.weight", _noise(noise, shared, _WIDTH, 1.0))
    writer.tensor(prefix + "attn_v.weight", _noise(noise, shared, _WIDTH, 1.0))
    writer.tensor(prefix + "attn_output.weight", _noise(noise, _WIDTH, attention, strength))
    if _architecture(kind) == "qwen3":
        writer.tensor(prefix + "attn_q_norm.weight", [1.0] * _HEAD_WIDTH, half=False)
        writer.tensor(prefix + "attn_k_norm.weight", [1.0] * _HEAD_WIDTH, half=False)
    writer.tensor(prefix + "ffn_norm.weight", [1.0] * _WIDTH, half=False)
    writer.tensor(prefix + "ffn_gate.weight", _noise(noise, _FEED_FORWARD, _WIDTH, 1.0))
    writer.tensor(prefix + "ffn_up.weight", _noise(noise, _FEED_FORWARD, _WIDTH, 1.0))
    writer.tensor(prefix + "ffn_down.weight", _noise(noise, _WIDTH, _FEED_FORWARD, strength))


def _noise(noise: random.Random, rows: int, columns: int, scale: float) -> Matrix:
    deviation = scale / math.sqrt(columns)
    return [[noise.gauss(0.0, deviation) for _ in range(columns)] for _ in range(rows)]


def _orthonormal(size: int, gauss: Callable[[], float]) -> Matrix:
    """`size` random unit vectors, each orthogonal to the others (Gram-Schmidt)."""
    basis: Matrix = []
    for _ in range(size):
        vector = [gauss() for _ in range(size)]
        for other in basis:
            overlap = sum(a * b for a, b in zip(vector, other, strict=True))
            vector = [a - overlap * b for a, b in zip(vector, other, strict=True)]
        length = math.sqrt(sum(a * a for a in vector))
        basis.append([a / length for a in vector])
    return basis


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    parser = ArgumentParser(
        prog="python -m swapd.testing.gguf", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--kind", choices=get_args(Kind), default="chat")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--name", default="tiny", help="general.name in the metadata")
    parser.add_argument("--context", type=int, default=32768, help="trained context length in the metadata")
    given = parser.parse_args(argv)
    write_tiny_model(given.out, kind=given.kind, seed=given.seed, name=given.name, context=given.context)
    return 0


if __name__ == "__main__":
    sys.exit(main())
