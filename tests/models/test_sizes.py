"""Every model JSON has the sizes and the structure that UER-py, its page and TencentPretrain gave it.

The table is written out here, and not computed, so that a changed file is noticed.
"""

from __future__ import annotations

from typing import Any

import pytest

from uer_ds.config.model import ModelConfig
from uer_ds.config.resources import resource_names
from uer_ds.models.zoo import resolve_model

COLUMNS = (
    *("emb_size", "hidden_size", "feedforward_size", "heads_num", "attention_head_size", "layers_num"),
    *("decoder_layers_num", "hidden_act", "max_seq_length", "dropout"),
)

# Name, then COLUMNS; "-" is a key left at its default.
TABLE = """
bert/tiny_config            128  128    512   2   -  2  - gelu         -  -
bert/mini_config            256  256   1024   4   -  4  - gelu         -  -
bert/small_config           512  512   2048   8   -  4  - gelu         -  -
bert/medium_config          512  512   2048   8   -  8  - gelu         -  -
bert/base_config            768  768   3072  12   - 12  - gelu         -  -
bert/large_config          1024 1024   4096  16   - 24  - gelu         -  -
bert/xlarge_config         1536 1536   6144  24   - 36  - gelu         -  -
bert_xlarge_config         1024 1024   4096  16   - 36  - gelu         -  -
bert_small_config           512  512   2048   8   -  6  - gelu         -  -
bert_tiny_config            384  384   1536   6   -  3  - gelu         -  -
albert/base_config          128  768   3072  12   - 12  - relu         -  0.0
albert/large_config         128 1024   4096  16   - 24  - relu         -  0.0
albert/xlarge_config        128 2048   8192  16   - 24  - relu         -  0.0
albert/xxlarge_config       128 4096  16384  16   - 12  - relu         -  0.0
gpt2/poem_tiny_config       256  256   1024   4   -  4  - gelu_fast  128  0.0
gpt2/distil_config          768  768   3072  12   -  6  - gelu_fast 1024  -
gpt2/config                 768  768   3072  12   - 12  - gelu_fast 1024  -
gpt2/medium_config         1024 1024   4096  16   - 24  - gelu_fast 1024  -
gpt2/large_config          1280 1280   5120  20   - 36  - gelu_fast 1024  -
gpt2/xlarge_config         1600 1600   6400  25   - 48  - gelu_fast 1024  -
t5/small_config             512  512   2048   8   -  6  6 relu         -  -
t5/base_config              768  768   3072  12   - 12 12 relu         -  -
t5/large_config            1024 1024   4096  16   - 24 24 relu         -  -
t5/3b_config               1024 1024  16384  32 128 24 24 relu         -  -
t5/11b_config              1024 1024  65536 128 128 24 24 relu         -  -
t5-v1_1/small_config        512  512   1024   6  64  8  8 gelu_fast    -  0.0
t5-v1_1/base_config         768  768   2048  12  64 12 12 gelu_fast    -  0.0
t5-v1_1/large_config       1024 1024   2816  16  64 24 24 gelu_fast    -  0.0
t5-v1_1/xlarge_config      2048 2048   5120  32  64 24 24 gelu_fast    -  0.0
t5-v1_1/xxlarge_config     4096 4096  10240  64  64 24 24 gelu_fast    -  0.0
bart/base_config            768  768   3072  12   -  6  6 gelu      1024  -
bart/large_config          1024 1024   4096  16   - 12 12 gelu      1024  -
pegasus/base_config         768  768   3072  12   - 12 12 relu      1024  -
pegasus/large_config       1024 1024   4096  16   - 16 16 relu      1024  -
transformer/base_config     512  512   2048   8   -  6  6 relu         -  -
transformer/big_config     1024 1024   4096  16   -  6  6 relu         -  0.3
xlm-roberta/base_config     768  768   3072  12   - 12  - gelu       514  -
xlm-roberta/large_config   1024 1024   4096  16   - 24  - gelu       514  -
megatron/bert_3.9B_config  2560 2560  10240  40   - 48  - gelu         -  -
megatron/gpt2_8.3B_config  3072 3072  12288  24   - 72  - gelu_fast 1024  -
rnn/lstm_config             512  512      -   -   -  2  - -         1024  -
rnn/gru_config              512  512      -   -   -  2  - -         1024  -
rnn/bilstm_config           512 1536      -   -   -  2  - -         1024  -
cnn/gatedcnn_9_config       128  807      -   -   -  9  - -         1024  -
cnn/gatedcnn_13_config      128 1268      -   -   - 13  - -         1024  -
sbert/base_config           768  768   3072  12   - 12  - gelu         -  -
sbert/large_config         1024 1024   4096  16   - 24  - gelu         -  -
rnn/siamese_lstm_config     512  512      -   -   -  2  - -            -  -
llama/7b_config            4096 4096  11008  32   - 32  - silu      2048  0.0
llama/13b_config           5120 5120  13824  40   - 40  - silu      2048  0.0
llama/33b_config           6656 6656  17920  52   - 60  - silu      2048  0.0
llama/65b_config           8192 8192  22016  64   - 80  - silu      2048  0.0
llama2/7b_config           4096 4096  11008  32   - 32  - silu      2048  0.0
llama2/13b_config          5120 5120  13824  40   - 40  - silu      2048  0.0
llama2/70b_config          8192 8192  28672  64   - 80  - silu      2048  0.0
"""
SIZES = {name: words for name, *words in map(str.split, TABLE.strip().splitlines())}

BARE = {"remove_embedding_layernorm": True}
BERT = {"embedding": ["word", "pos", "seg"], "target": ["mlm", "sp"], "data_processor": "bert"}
GPT2 = {
    "embedding": ["word", "pos"],
    "mask": "causal",
    "layernorm_positioning": "pre",
    "target": ["lm"],
    "data_processor": "lm",
    "tie_weights": True,
    **BARE,
}
SEQ2SEQ = {"decoder": "transformer", "target": ["lm"]}
T5 = {
    **SEQ2SEQ,
    "relative_position_embedding": True,
    "share_embedding": True,
    "remove_attention_scale": True,
    "remove_transformer_bias": True,
    "layernorm": "t5",
    "layernorm_positioning": "pre",
    "data_processor": "t5",
    **BARE,
}
SINUSOIDS = {"embedding": ["word", "sinusoidalpos"], "tgt_embedding": ["word", "sinusoidalpos"]}
ENDS_OF_BART = {"share_embedding": True, "tie_weights": True, "has_lmtarget_bias": True}
LLAMA = {
    "remove_transformer_bias": True,
    "rotary_position_embedding": True,
    "mask": "causal",
    "layernorm_positioning": "pre",
    "layernorm": "rms",
    "feed_forward": "gated",
    "target": ["lm"],
    "data_processor": "lm",
    **BARE,
}
ALBERT = {**BERT, "factorized_embedding_parameterization": True, "parameter_sharing": True, "data_processor": "albert"}
LEFT_TO_RIGHT = {"target": ["lm"], "data_processor": "lm", **BARE}
GATEDCNN = {**LEFT_TO_RIGHT, "encoder": "gatedcnn", "kernel_size": 4, "block_size": 2}
PAIR: dict[str, Any] = {"embedding": ["dual"], "encoder": "dual", "target": [], "tie_weights": True}

# Beginning of a name -> all keys but the sizes; the longest beginning counts.
STRUCTURES: dict[str, dict[str, Any]] = {
    "bert": {**BERT, "tie_weights": True},
    "albert": ALBERT,
    "gpt2": GPT2,
    "t5/": {**T5, "tie_weights": True},
    "t5-v1_1": {**T5, "feed_forward": "gated"},
    "bart": {
        **SEQ2SEQ,
        **ENDS_OF_BART,
        "embedding": ["word", "pos"],
        "tgt_embedding": ["word", "pos"],
        "data_processor": "bart",
    },
    "pegasus": {
        **SEQ2SEQ,
        **ENDS_OF_BART,
        **SINUSOIDS,
        **BARE,
        "layernorm_positioning": "pre",
        "data_processor": "gsg",
    },
    "transformer": {**SEQ2SEQ, **SINUSOIDS, "tie_weights": True, "data_processor": "mt"},
    "xlm-roberta": {"embedding": BERT["embedding"], "data_processor": "mlm"},
    "megatron/bert": BERT,
    "megatron/gpt2": GPT2,
    "rnn/lstm": {**LEFT_TO_RIGHT, "encoder": "lstm"},
    "rnn/gru": {**LEFT_TO_RIGHT, "encoder": "gru"},
    "rnn/bilstm": {"encoder": "bilstm", "target": ["bilm"], "data_processor": "bilm", **BARE},
    "cnn/gatedcnn": GATEDCNN,
    "sbert": PAIR,
    "rnn/siamese": {**PAIR, "pooling": "mean"},
    "llama": LLAMA,
    "llama2/70b": {**LLAMA, "local_kv_heads_num": 8},
}
STREAMS: dict[str, dict[str, Any]] = {
    "sbert": {"embedding": ["word", "pos", "seg"], "target": [], "vocab_size": 21128},
    "rnn/siamese": {"encoder": "lstm", "target": [], "vocab_size": 21128},
}


def wanted_of(name: str, table: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return table[max((beginning for beginning in table if name.startswith(beginning)), key=len)]


def sizes_and_structure(config: ModelConfig) -> tuple[list[str], dict[str, Any]]:
    """What differs from the defaults; sizes as they stand in the table."""
    values = config.to_dict()
    default = {"hidden_act": "gelu" if config.heads_num else "-"}
    return [str(values.pop(key, default.get(key, "-"))) for key in COLUMNS], values


def test_the_table_has_every_file() -> None:
    assert set(SIZES) == set(resource_names("models"))


@pytest.mark.parametrize("name", SIZES)
def test_sizes_and_structure_are_those_of_the_reference(name: str) -> None:
    config = resolve_model(name)
    if config.stream_0 is None:
        assert sizes_and_structure(config) == (SIZES[name], wanted_of(name, STRUCTURES))
        return
    for stream in (config.stream_0, config.stream_1):
        assert stream is not None
        assert sizes_and_structure(stream) == (SIZES[name], wanted_of(name, STREAMS))
    whole = {key: value for key, value in config.to_dict().items() if not key.startswith("stream_")}
    assert whole == wanted_of(name, STRUCTURES)
