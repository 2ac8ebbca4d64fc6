"""A `.bin` and `.idx` of Megatron or DeepSpeed -> a dataset folder.

Such a pair knows neither its vocabulary nor what its items are. The vocabulary must be given, and every id is compared
with it; documents of one item are texts, others are runs of sentences, or pairs where an objective reads pairs. The ids
stay what they are, end marks of documents among them (Megatron's `--append-eod`); they are stored in our type.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from uer_ds import __version__
from uer_ds.data.build_folder import staging
from uer_ds.data.combine import document_chunks
from uer_ds.data.indexed import IndexedDataset, IndexedDatasetWriter, dtype_for_vocabulary
from uer_ds.data.manifest import Manifest, ShardRecord, SourceRecord
from uer_ds.data.measure import CHUNK, token_starts, verify_ids, verify_index
from uer_ds.data.uer_import import SHARD, save_tokenizers
from uer_ds.errors import UserError, unknown_name
from uer_ds.objective_specs import OBJECTIVE_SPECS
from uer_ds.tokenizers.base import Tokenizer


def find_pair(path: Path) -> Path | None:
    """The common name of a pair of files: `path` itself, or `path` without its ending; None: there is no pair."""
    for prefix in (path, path.with_suffix("") if path.suffix in (".bin", ".idx") else path):
        if Path(f"{prefix}.idx").is_file():
            return prefix
    return None


def import_pair(
    prefix: Path,
    output: Path,
    processor: str,
    tokenizer: Tokenizer,
    advance: Callable[[int], None],
    target_tokenizer: Tokenizer | None = None,
    command: tuple[str, ...] = (),
) -> Manifest:
    """Write `output`; `advance` is told the bytes of `.bin` that are done."""
    if processor not in OBJECTIVE_SPECS:
        raise unknown_name("data_processor", processor, OBJECTIVE_SPECS, "uer-ds dataset import")
    pair = IndexedDataset(prefix)
    verify_index(pair)
    layout = _layout(pair, processor)
    vocab_size = max(t.vocab_size for t in (tokenizer, target_tokenizer) if t is not None)
    with staging(output) as [folder]:
        shard = _copy(pair, folder, vocab_size, advance)
        manifest = Manifest(
            layout=layout,
            dtype=dtype_for_vocabulary(vocab_size).name,
            **save_tokenizers(tokenizer, target_tokenizer, folder),
            shards=(shard,),
            sources=(SourceRecord(f"{prefix}.bin", pair.tokens.nbytes, ""),),
            sampling={"data_processor": processor},
            preparation="imported from a .bin and .idx pair",
            command=command,
            version=__version__,
        )
        manifest.write(folder)
    return manifest


def _copy(pair: IndexedDataset, folder: Path, vocab_size: int, advance: Callable[[int], None]) -> ShardRecord:
    writer = IndexedDatasetWriter(folder / SHARD, dtype_for_vocabulary(vocab_size))
    try:
        for chunk in document_chunks(pair):
            bounds = pair.document_bounds[chunk.start : chunk.stop + 1]
            starts = token_starts(pair, np.arange(bounds[0], bounds[-1] + 1))
            ids = pair.tokens[starts[0] : starts[-1]]
            verify_ids(f"{pair.prefix}.bin", ids, vocab_size)
            first_item = writer.items
            writer.add_items(ids, starts - starts[0])
            writer.end_documents(first_item + (bounds[1:] - bounds[0]))
            advance(ids.nbytes)
        files = writer.finish()
    finally:
        writer.abort()
    return ShardRecord(SHARD, writer.documents, writer.items, writer.tokens, 0, 0, (), files)


def _layout(pair: IndexedDataset, processor: str) -> str:
    """What the documents are for the objective; `UserError` when it cannot read such documents."""
    least, most = _items_in_documents(pair)
    possible = {"documents" if most == 1 else "sentences", "pairs" if least == most == 2 else ""}
    spec = OBJECTIVE_SPECS[processor]
    for layout in spec.layouts:
        if layout in possible:
            return layout
    raise UserError(
        f"{pair.prefix}.idx has {pair.items} items in {pair.documents} documents ({least} to {most} in each); the"
        f" {processor} objective reads {' or '.join(spec.layouts)}: name another --data_processor."
    )


def _items_in_documents(pair: IndexedDataset) -> tuple[int, int]:
    """The least and the greatest number."""
    if not pair.items:
        raise UserError(f"{pair.prefix}.idx has no item; expected at least one document.")
    least, most = pair.items, 0
    for first in range(0, pair.documents, CHUNK):
        counts = np.diff(pair.document_bounds[first : first + CHUNK + 1])
        least, most = int(counts[counts > 0].min(initial=least)), max(most, int(counts.max()))
    return least, most
