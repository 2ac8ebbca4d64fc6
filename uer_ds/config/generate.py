"""Options of generation. Names are UER-py's where it has them, with UER-py's defaults."""

from __future__ import annotations

from dataclasses import dataclass

from uer_ds.config.options import Options, option
from uer_ds.errors import UserError


@dataclass(frozen=True)
class DecodingConfig(Options):
    """How the next token is chosen."""

    greedy: bool = option(False, "always the likeliest token")
    beam_size: int = option(1, "keep so many candidate texts and take the best; above 1 nothing is sampled", least=1)
    length_penalty: float = option(1.0, "beams: scores are divided by length to this power")
    temperature: float = option(1.0, "below 1: likelier tokens are favoured; above: the others", above=0)
    top_k: int = option(70, "sample from so many likeliest tokens; 0: from all", least=0)
    top_p: float = option(0.0, "sample from the fewest tokens with this probability together; 0: off", least=0, most=1)
    min_p: float = option(
        0.0, "leave out tokens less likely than this share of the likeliest one; 0: off", least=0, most=1
    )
    repetition_penalty: float = option(1.0, "above 1: tokens that the text has already become less likely", above=0)
    no_repeat_ngram_size: int = option(0, "no run of so many tokens comes twice in a text; 0: off", least=0)
    seed: int = option(7, "seed of the draws; a text depends on it and on its number, not on the others of its batch")

    def __post_init__(self) -> None:
        if self.temperature == 0:
            raise UserError(
                f"--temperature is {self.temperature}; expected a number above 0; for the likeliest token always, give "
                "--greedy."
            )
        super().__post_init__()

    @property
    def draws(self) -> bool:
        """Whether chance has a part in it."""
        return not self.greedy and self.beam_size == 1


@dataclass(frozen=True)
class TextConfig(Options):
    """How long texts are, and what they must look like."""

    seq_length: int = option(
        128, "longest text in tokens, prompt and all; of models with a decoder: of the source", least=2
    )
    tgt_seq_length: int = option(128, "models with a decoder: longest answer in tokens", least=1)
    max_new_tokens: int = option(0, "so many tokens behind each prompt at most; 0: as seq_length says", least=0)
    ignore_end: bool = option(False, "go on behind the end of a text ([SEP]), up to the full length")
    stop: tuple[str, ...] = option((), "strings at which a text ends, for example 。 (they belong to it)")
    samples_num: int = option(1, "texts for each prompt", least=1)
    form: str | None = option(
        None, "a form that the text must have: wujue, qijue, wulv, qilv, couplet, or a template such as ****，****。"
    )
    acrostic: str | None = option(None, "with form: the characters that the lines begin with")

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(not text for text in self.stop):
            raise UserError("--stop has an empty string; every text would end at once.")
        if self.acrostic and not self.form:
            raise UserError("--acrostic says what lines begin with, but there is no --form; give one, such as qijue.")


@dataclass(frozen=True)
class GeneratePaths(Options):
    """Models, prompts, results."""

    load_model_path: str | None = option(None, "weights: UER .bin, safetensors, checkpoint or Hugging Face folder")
    config_path: str | None = option(None, "model JSON, or the name of one; default: the one beside the weights")
    test_path: str | None = option(None, "prompts, one a line (.txt), or JSON lines with the key text")
    prompt: tuple[str, ...] = option((), "prompts on the command line")
    prediction_path: str | None = option(
        None, "results: .txt, a whole text a line, or .jsonl with prompt and text; default: the terminal"
    )
    batch_size: int = option(32, "texts that are written at the same time", least=1)
    ds_config: str | None = option(
        None, "DeepSpeed JSON of stage 3: weights divided over processes or offloaded (ZeRO-Inference)"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.load_model_path:
            raise UserError("--load_model_path is missing; name the weights to generate with.")
        if bool(self.test_path) == bool(self.prompt):
            raise UserError("expected either --test_path FILE or --prompt TEXT, one of them.")
