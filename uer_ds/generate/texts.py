"""Texts in, texts out: prompts from strings, and readable strings from tokens while they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from uer_ds.config.generate import DecodingConfig, TextConfig
from uer_ds.config.model import ModelConfig
from uer_ds.errors import UserError
from uer_ds.generate.forms import Form, forms_of
from uer_ds.generate.writing import Prompt, Rules
from uer_ds.tokenizers import Tokenizer

INCOMPLETE = "\ufffd"
"""What a decoder shows for the first bytes of a character whose last ones are still to come."""


class Desk:
    """Makes prompts and rules for one model, and reads what was written."""

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: Tokenizer,
        target_tokenizer: Tokenizer,
        sampling: DecodingConfig,
        texts: TextConfig,
    ):
        """`target_tokenizer` writes the answers of a model with decoder."""
        self.config, self.sampling, self.texts = config, sampling, texts
        self.reads, self.writes = tokenizer, target_tokenizer if config.decoder else tokenizer
        self.reads.require("cls")
        special = self.writes.special
        self.end = None if texts.ignore_end else special.sep
        ends = [special.sep] if texts.ignore_end else []
        banned = [special.pad, special.cls, special.unk, special.mask, *ends]
        self._banned = tuple(sorted({number for number in banned if number is not None}))

    def prompts(self, texts: Sequence[str], first_number: int) -> list[Prompt]:
        """`samples_num` prompts for each text; the first text has the number `first_number` among all.

        A language model goes on behind [CLS] and the text; a decoder answers to [CLS] text [SEP], beginning with [CLS]
        (the way both are trained here and in UER-py). Raises UserError for a text that leaves no room.
        """
        forms = forms_of(self.texts.form, self.texts.acrostic, texts, self.writes, self.writes.special.sep)
        result = []
        for at, text in enumerate(texts):
            ids = self._ids(text)
            for sample in range(self.texts.samples_num):
                number = (first_number + at) * self.texts.samples_num + sample
                begin = [int(self.writes.special.cls or 0)] if self.config.decoder else []
                form = forms[at] if forms else None
                result.append(Prompt(number, ids, begin, form, self._room(len(ids), form)))
        return result

    def rules(self, prompts: Sequence[Prompt]) -> Rules:
        """What holds for texts that are written together."""
        longest = max(prompt.longest for prompt in prompts)
        return Rules(self.sampling, longest, self.end, self._banned, self._stops())

    def show(self, ids: Sequence[int]) -> str:
        """Readable."""
        return self.writes.decode(ids)

    def _ids(self, text: str) -> list[int]:
        special = self.reads.special
        assert special.cls is not None
        ids = [special.cls, *self.reads.encode(text).tolist()]
        if self.config.decoder:
            self.reads.require("sep")
            assert special.sep is not None
            return [*ids[: self.texts.seq_length - 1], special.sep]
        if len(ids) >= self._limit():
            raise UserError(
                f"the prompt {text[:20]!r} has {len(ids)} tokens with [CLS], and a text may have {self._limit()}; "
                "shorten it or raise --seq_length (up to what the model's positions allow)."
            )
        return ids

    def _limit(self) -> int:
        """Tokens of a whole text of a language model."""
        asked = self.texts.seq_length
        if self.texts.max_new_tokens:
            asked = 2**31
        return min(asked, self.config.max_seq_length) if "pos" in self.config.embedding else asked

    def _room(self, prompt_tokens: int, form: Form | None) -> int:
        """Tokens that may be written."""
        if form is not None:
            return len(form) + 1
        if self.config.decoder:
            room = self.texts.tgt_seq_length - 1
            if "pos" in self.config.tgt_embedding:
                room = min(room, self.config.max_seq_length - 1)
        else:
            room = self._limit() - prompt_tokens
        return max(1, min(room, self.texts.max_new_tokens or room))

    def _stops(self) -> Callable[[list[int]], bool]:
        """Whether the readable end of a text is one of the strings to stop at."""
        if not self.texts.stop:
            return lambda ids: False
        longest = max(map(len, self.texts.stop))
        return lambda ids: any(stop in self.show(ids[-longest - 1 :]) for stop in self.texts.stop)


class Stream:
    """Shows a text as it grows: each call returns what may be printed behind what was printed before."""

    def __init__(self, show: Callable[[Sequence[int]], str]):
        self._show, self._printed = show, ""

    def more(self, ids: Sequence[int], last: bool = False) -> str:
        """New characters of the text `ids`; with `last`, all that are left."""
        text = self._show(ids)
        if not last:
            text = text.rstrip(INCOMPLETE)
        if not text.startswith(self._printed):  # a character changed when the next came; it cannot be taken back
            return ""
        new, self._printed = text[len(self._printed) :], text
        return new
