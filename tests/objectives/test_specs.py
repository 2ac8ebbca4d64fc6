"""One record tells an objective: what it says is what the rest of the program does."""

from __future__ import annotations

import pytest

from uer_ds.config.data import SamplingConfig
from uer_ds.data.build_spec import RULES
from uer_ds.data.uer_stream import READERS
from uer_ds.objective_specs import OBJECTIVE_SPECS, names_by_corpus, objective_spec
from uer_ds.objectives.options import RowOptions, special_ids
from uer_ds.registry import OBJECTIVES, TARGETS
from uer_ds.tokenizers.special import SpecialIds


@pytest.mark.parametrize("name", OBJECTIVE_SPECS)
def test_a_record_names_things_that_exist(name: str) -> None:
    spec = OBJECTIVE_SPECS[name]
    assert spec.name == name and spec.summary
    assert OBJECTIVES[name].spec is spec
    assert set(spec.targets) <= set(TARGETS)
    assert RULES[spec.corpus].layout == spec.layouts[0]
    assert set(spec.required_tokens) <= set(SpecialIds.__dataclass_fields__)


def test_objectives_are_found_by_old_names_and_by_corpus() -> None:
    assert objective_spec("seq2seq").name == "mt" and objective_spec("mt").old_names == ("seq2seq",)
    with pytest.raises(KeyError):
        objective_spec("nsp")
    assert names_by_corpus("blank_line") == "bert, albert, gsg, bart"
    assert set(READERS) <= set(OBJECTIVE_SPECS)


def test_row_options_are_the_sampling_options_and_more() -> None:
    special = SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4, sentinel=None)
    options = RowOptions(vocab_size=10, special=special)
    assert (options.seq_length, options.packed) == (128, True)
    assert set(SamplingConfig.__dataclass_fields__) < set(RowOptions.__dataclass_fields__)
    assert special_ids(special, OBJECTIVE_SPECS["mlm"]) == (0, 2, 3, 4)
