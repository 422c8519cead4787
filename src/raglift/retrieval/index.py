"""The passage index: one LanceDB table with text, vector and tokens, kept in step with the knowledge base."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from raglift.errors import InputError, RunError
from raglift.records import Passage
from raglift.retrieval.embedders import Embedder, Vectors
from raglift.retrieval.names import NameTable
from raglift.retrieval.tokens import (
    find_names,
    find_synonyms,
    join_tokens,
    list_tokens,
    name_tokenizer,
    normalize_text,
)
from raglift.runfolder import explain_disk_errors, hash_content

FORMAT = "2"
TABLE = "passages"
EMBED_BATCH = 32
LARGE = 50_000  # rows from which vectors stay on disk behind an approximate index
PROBES, REFINE = 64, 5  # partitions of an approximate index that a query reads; candidates re-ranked exactly
# How long an object store is waited for; keys and addresses come from the environment, as its own tools read them.
PATIENCE = {"connect_timeout": "5s", "client_max_retries": "2", "client_retry_timeout": "10"}
FUSED = 50  # candidates of each kind that LanceDB fuses

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class BuildReport:
    """What a build did: `rebuilt_because` is None when the table that was there could be kept."""

    embedded: int
    kept: int
    removed: int
    rebuilt_because: str | None
    windowed: tuple[str, ...]
    duplicates: tuple[tuple[str, ...], ...]

    @property
    def is_change(self) -> bool:
        """Whether anything was written."""
        return bool(self.embedded or self.removed)

    def list_notices(self) -> list[str]:
        """What a user should be told, one sentence each."""
        notices = []
        if self.kept and self.is_change:
            notices.append(
                f"passages changed: {self.embedded} new or altered, {self.removed} removed, {self.kept} kept"
            )
        if self.rebuilt_because:
            notices.append(f"index built anew: {self.rebuilt_because}")
        if self.windowed:
            notices.append(
                f"{len(self.windowed)} passage(s) longer than the embedder's window, embedded window by window "
                f"and averaged: {', '.join(self.windowed[:5])}{' …' if len(self.windowed) > 5 else ''}"
            )
        for group in self.duplicates[:5]:
            notices.append(f"the same text stands in passages {', '.join(group)}")
        return notices


@dataclass(frozen=True)
class Row:
    """One row of a search's answer; `score` is a cosine (vectors) or BM25 (tokens)."""

    passage_id: str
    score: float


class Index:
    """A built index. `identity` is a hash of everything that decides what a search finds."""

    def __init__(self, table: Any, embedder: Embedder, report: BuildReport) -> None:
        self.table = table
        self.embedder = embedder
        self.report = report
        self.size = int(table.count_rows())
        self.is_large = self.size >= LARGE
        self.version = int(table.version)

    @cached_property
    def identity(self) -> str:
        """32 hexadecimal digits over embedder, tokenizer and every (id, text)."""
        rows = self._read("id", "hash")
        pairs = sorted(zip(rows["id"].to_pylist(), rows["hash"].to_pylist(), strict=True))
        return hash_content(FORMAT, self.embedder.identity, name_tokenizer(), pairs)

    @cached_property
    def texts(self) -> dict[str, str]:
        """Passage text by id."""
        rows = self._read("id", "text")
        return dict(zip(rows["id"].to_pylist(), rows["text"].to_pylist(), strict=True))

    @cached_property
    def ids(self) -> list[str]:
        """Passage ids, sorted; the order of `vectors` and `names`."""
        return [str(name) for name in self._read("id").sort_by("id")["id"].to_pylist()]

    @cached_property
    def vectors(self) -> Vectors:
        """(passages, dimensions) unit vectors in memory; for indexes that are not large, and tuning."""
        rows = self._read("id", "vector").sort_by("id")  # a fixed order: no tie depends on the table's history
        flat = rows["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat.reshape(-1, self.embedder.dimensions), np.float32)

    def read_vectors(self, ids: Sequence[str]) -> Vectors:
        """The unit vectors of some passages, (ids, dimensions), in their order; of a large index only these."""
        if not self.is_large:
            return self.vectors[[self.positions[name] for name in ids]]
        quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in set(ids))
        rows = self.table.search().where(f"id IN ({quoted})").select(["id", "vector"]).limit(len(ids)).to_arrow()
        found = dict(zip(rows["id"].to_pylist(), rows["vector"].to_pylist(), strict=True))
        return np.array([found[name] for name in ids], np.float32)

    @cached_property
    def positions(self) -> dict[str, int]:
        """Row of `vectors` and `names` by passage id."""
        return {passage_id: row for row, passage_id in enumerate(self.ids)}

    def search_vectors(self, queries: Vectors, limit: int) -> list[list[Row]]:
        """The passages nearest to unit vectors by cosine, best first: exact below LARGE rows, else near it.

        `queries` is (questions, dimensions).
        """
        if self.is_large:
            return [self._search_approximately(query, limit) for query in queries]
        scores = [self.measure_cosines(query) for query in queries]
        return [[Row(self.ids[i], float(row[i])) for i in rank_top(row, limit)] for row in scores]

    def measure_cosines(self, query: Vectors) -> Vectors:
        """The cosine of a unit vector with every passage, (passages,); for indexes that are not large.

        On one thread: the workers of a threaded product go on spinning for a while, and on few cores the
        embedder's next question waits for them.
        """
        return np.asarray(np.einsum("ij,j->i", self.vectors, query), np.float32)

    def search_tokens(self, tokens: Sequence[str], limit: int) -> list[Row]:
        """The best passages by BM25 over their tokens; none when no token occurs.

        A name that the knowledge base translates in parentheses is searched by its other names as well.
        """
        from lancedb.query import MatchQuery

        if not tokens:
            return []
        query = MatchQuery(" ".join(self.add_synonyms(tokens)), "tokens")
        found = self.table.search(query, query_type="fts").limit(limit).select(["id", "_score"]).to_arrow()
        rows = [Row(i, s) for i, s in zip(found["id"].to_pylist(), found["_score"].to_pylist(), strict=True)]
        return sorted(rows, key=lambda row: (-row.score, row.passage_id))

    def search_fused(self, query: Vectors, tokens: Sequence[str], limit: int, fusion: str) -> list[Row]:
        """The best passages by LanceDB's hybrid search: `hybrid-rrf` by ranks, `hybrid-linear` by scaled scores.

        `query` is a unit vector, (dimensions,).
        """
        from lancedb.query import MatchQuery
        from lancedb.rerankers import LinearCombinationReranker, RRFReranker

        if not tokens:
            return self.search_vectors(query[None], limit)[0]
        reranker = {"hybrid-rrf": RRFReranker, "hybrid-linear": LinearCombinationReranker}[fusion]()
        search = self.table.search(query_type="hybrid", vector_column_name="vector", fts_columns="tokens")
        search = search.vector(query).text(MatchQuery(" ".join(self.add_synonyms(tokens)), "tokens"))
        if self.is_large:
            search = search.nprobes(PROBES).refine_factor(REFINE)
        found = search.distance_type("cosine").rerank(reranker).limit(max(limit, FUSED)).to_arrow()
        scores = found["_relevance_score"].to_pylist()
        rows = [Row(i, s) for i, s in zip(found["id"].to_pylist(), scores, strict=True)]
        return sorted(rows, key=lambda row: (-row.score, row.passage_id))[:limit]

    def add_synonyms(self, tokens: Sequence[str]) -> list[str]:
        """The tokens and those of the other names of every name among them, without repeats."""
        line = f" {' '.join(tokens)} "
        others = [o for name, group in self.synonyms.items() if f" {name} " in line for o in sorted(group)]
        return list(dict.fromkeys([*tokens, *(token for other in others for token in other.split())]))

    def _search_approximately(self, query: Vectors, limit: int) -> list[Row]:
        search = self.table.search(query).distance_type("cosine").nprobes(PROBES).refine_factor(REFINE)
        found = search.limit(limit).select(["id", "_distance"]).to_arrow()
        distances = found["_distance"].to_pylist()
        return [Row(i, 1.0 - d) for i, d in zip(found["id"].to_pylist(), distances, strict=True)]

    @cached_property
    def mean_vector(self) -> Vectors:
        """The mean of all passage vectors, (dimensions,); a large index is read in batches to bound memory."""
        if not self.is_large:
            return np.asarray(self.vectors.mean(axis=0), np.float32)
        total = np.zeros(self.embedder.dimensions, np.float64)
        for batch in self.table.search().select(["vector"]).to_batches():
            flat = batch.column("vector").flatten().to_numpy(zero_copy_only=False)
            total += flat.reshape(-1, self.embedder.dimensions).sum(axis=0, dtype=np.float64)
        return np.asarray(total / max(1, self.size), np.float32)

    @cached_property
    def names(self) -> NameTable:
        """The passages' names, in the order of `ids`."""
        rows = self._read("id", "names").sort_by("id")
        return NameTable([group or [] for group in rows["names"].to_pylist()])

    @cached_property
    def synonyms(self) -> dict[str, set[str]]:
        """Joined tokens of a name to those of its translations, over the whole knowledge base."""
        found: dict[str, set[str]] = {}
        for group in self._read("synonyms")["synonyms"].to_pylist():
            for one, other in (pair.split("\t") for pair in group or []):
                found.setdefault(one, set()).add(other)
                found.setdefault(other, set()).add(one)
        return found

    def _read(self, *columns: str) -> Any:
        return self.table.search().select(list(columns)).to_arrow()


def rank_top(scores: Any, limit: int) -> list[int]:
    """Positions of the highest scores, best first; ties keep their order."""
    count = min(limit, len(scores))
    if count < len(scores) // 4:
        near = np.sort(np.argpartition(-scores, count)[: count + 1])
        order = near[np.argsort(-scores[near], kind="stable")]
    else:
        order = np.argsort(-scores, kind="stable")
    return [int(i) for i in order[:count]]


def build_index(
    passages: Sequence[Passage], embedder: Embedder, folder: Path | str, progress: Progress | None = None
) -> Index:
    """Bring `folder` in step with the passages; only new and changed ones are embedded.

    An index of another embedder, of another tokenizer, or one that cannot be read is built anew, and the
    report says why. `progress(done, total)` counts passages embedded. A text is an address on object storage.

    Raises:
        InputError: no passages, or two with one id; an address that cannot be read or holds another index.
        RunError: the folder cannot be written.
    """
    _check_passages(passages)
    hashes = {passage.id: hash_text(passage.text) for passage in passages}
    table, reason = _open_or_reject(folder, embedder)
    if reason and not isinstance(folder, Path):  # what lies there may be somebody else's
        raise InputError(
            f"retrieval.index: {folder}", reason, f"an index built with {embedder.identity}, or none",
            "mend the address or its keys in the environment (AWS_ENDPOINT, AWS_ACCESS_KEY_ID, …), or choose another",
        )  # fmt: skip
    known = _read_hashes(table) if table is not None else {}
    changed = [passage for passage in passages if known.get(passage.id) != hashes[passage.id]]
    removed = [passage_id for passage_id in known if passage_id not in hashes]
    with explain_disk_errors(Path(folder)):
        if table is None:
            if isinstance(folder, Path):
                shutil.rmtree(folder, ignore_errors=True)
            table = _create_table(folder, embedder)
        _store(table, changed, hashes, embedder, progress)
        for start in range(0, len(removed), 500):
            names = ", ".join("'" + name.replace("'", "''") + "'" for name in removed[start : start + 500])
            table.delete(f"id IN ({names})")
        if changed or removed or not table.list_indices():  # none where a build was ended before its last step
            _index_columns(table)
    windowed = tuple(p.id for p in passages if len(p.text) > embedder.window // 2 and _is_long(p.text, embedder))
    report = BuildReport(
        len(changed), len(passages) - len(changed), len(removed), reason, windowed, find_duplicates(passages)
    )
    return Index(table, embedder, report)


def hash_text(text: str) -> str:
    """A passage's content hash; the same for composed and decomposed Hangul."""
    return sha256(normalize_text(text).encode("utf-8", "replace")).hexdigest()[:32]


def find_duplicates(passages: Sequence[Passage]) -> tuple[tuple[str, ...], ...]:
    """Ids of passages that have the same text, group by group."""
    groups: dict[str, list[str]] = {}
    for passage in passages:
        groups.setdefault(hash_text(passage.text.strip()), []).append(passage.id)
    return tuple(tuple(ids) for ids in groups.values() if len(ids) > 1)


def _check_passages(passages: Sequence[Passage]) -> None:
    if not passages:
        raise InputError("passages.jsonl", "no passages", "a knowledge base of at least one passage", "add passages")
    twice = [passage_id for passage_id, count in Counter(p.id for p in passages).items() if count > 1]
    if twice:
        raise InputError("passages.jsonl", f"id '{twice[0]}' stands twice", "one passage for each id", "rename one")


def _is_long(text: str, embedder: Embedder) -> bool:
    return embedder.count_tokens(text) > embedder.window


def _connect(folder: Path | str) -> Any:
    import lancedb

    return lancedb.connect(str(folder), storage_options=None if isinstance(folder, Path) else PATIENCE)


def _open_or_reject(folder: Path | str, embedder: Embedder) -> tuple[Any, str | None]:
    """The table, or None with the reason why it cannot be used (no reason: there was none)."""
    if isinstance(folder, Path) and (not folder.exists() or not any(folder.iterdir())):
        return None, None
    try:
        store = _connect(folder)
        if not isinstance(folder, Path) and TABLE not in store.list_tables().tables:
            return None, None
        table = store.open_table(TABLE)
        made_by = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        _read_hashes(table)
        _ask_for_words(table)
    except Exception as error:  # whatever a broken file makes the library raise: it is rebuilt from the passages
        length = 120 if isinstance(folder, Path) else 600  # what a store says ends with the cause
        return None, f"the old one cannot be read ({str(error).strip().splitlines()[0][:length]})"
    wanted = _describe_maker(embedder)
    for key, value in wanted.items():
        if made_by.get(key) != value:
            return None, f"the old one was made by {key} '{made_by.get(key)}', now it is '{value}'"
    return table, None


def _ask_for_words(table: Any) -> None:
    """Search for the first passage's words, which reads the files of their index; raises what the library raises."""
    from lancedb.query import MatchQuery

    first = table.search().limit(1).select(["tokens"]).to_arrow()["tokens"].to_pylist()
    if table.list_indices() and first and first[0]:
        table.search(MatchQuery(first[0].split()[0], "tokens"), query_type="fts").limit(1).to_arrow()


def _describe_maker(embedder: Embedder) -> dict[str, str]:
    return {
        "format": FORMAT,
        "embedder": embedder.identity,
        "dimensions": str(embedder.dimensions),
        "tokenizer": name_tokenizer(),
    }


def _read_hashes(table: Any) -> dict[str, str]:
    rows = table.search().select(["id", "hash"]).to_arrow()
    return dict(zip(rows["id"].to_pylist(), rows["hash"].to_pylist(), strict=True))


def _create_table(folder: Path | str, embedder: Embedder) -> Any:
    import pyarrow as pa

    fields = [
        ("id", pa.string()),
        ("text", pa.string()),
        ("hash", pa.string()),
        ("tokens", pa.string()),
        ("names", pa.list_(pa.string())),
        ("synonyms", pa.list_(pa.string())),
        ("vector", pa.list_(pa.float32(), embedder.dimensions)),
    ]
    schema = pa.schema(fields, metadata=_describe_maker(embedder))
    return _connect(folder).create_table(TABLE, schema=schema)


def _store(
    table: Any, passages: Sequence[Passage], hashes: dict[str, str], embedder: Embedder, progress: Progress | None
) -> None:
    """Embed and write batch by batch: memory stays bounded and a killed build keeps what it wrote."""
    batch_rows = max(EMBED_BATCH, min(4096, len(passages)))
    for start in range(0, len(passages), batch_rows):
        chunk = passages[start : start + batch_rows]
        parts = []
        for at in range(0, len(chunk), EMBED_BATCH):
            parts.append(embedder.embed_passages([p.text for p in chunk[at : at + EMBED_BATCH]]))
            if progress:
                progress(start + min(at + EMBED_BATCH, len(chunk)), len(passages))
        vectors = np.concatenate(parts)
        if not np.isfinite(vectors).all():
            raise RunError(f"embedder {embedder.name} returned vectors that are not numbers")
        rows = make_rows(chunk, [hashes[p.id] for p in chunk], vectors, table.schema)
        table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)


def make_rows(passages: Sequence[Passage], hashes: Sequence[str], vectors: Vectors, schema: Any) -> Any:
    """The Arrow table that is stored for some passages. `vectors` has a row for each."""
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
    columns = [
        [p.id for p in passages],
        [p.text for p in passages],
        list(hashes),
        [" ".join(list_tokens(p.text)) for p in passages],
        [[join_tokens(name) for name in find_names(p.text)] for p in passages],
        [["\t".join(pair) for pair in find_synonyms(p.text)] for p in passages],
        pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
    ]
    return pa.table(columns, schema=schema)


def _index_columns(table: Any) -> None:
    from lancedb.index import FTS, IvfSq

    whole_words = FTS(
        base_tokenizer="whitespace", stem=False, remove_stop_words=False, ascii_folding=False, max_token_length=None
    )
    table.create_index("tokens", config=whole_words, replace=True)
    if table.count_rows() >= LARGE:
        table.create_index("vector", config=IvfSq(distance_type="cosine"), replace=True)
    table.optimize(cleanup_older_than=timedelta(hours=1))
