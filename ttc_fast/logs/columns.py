"""The samples read so far, column by column: some 60 bytes a sample, so that ten million fit easily."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import answers as same_answers
from .log import Bulk, Coded, Note, PromptCounts, Record, Sample
from .options import Reading, aggregated, lookup

SETTINGS = (
    "model",
    "model_name",
    "model_id",
    "temperature",
    "top_p",
    "task",
    "task_name",
    "dataset",
    "data_source",
    "step",
)
"""Fields that say how samples were made; several values in one log are told."""


class Columns:
    """The samples of all files, or of one group of them."""

    def __init__(self, options: Reading, gold: Mapping[str, str] | None, most: int) -> None:
        self.options, self.gold, self.most = options, gold, most
        self.key = same_answers.key(options.equal)
        self.extract = same_answers.extractor(options.extract) if options.extract else None
        self.optional: tuple[str, ...] | None = None
        self.paths: list[str] = []
        self.skipped = 0
        self.complaints: list[str] = []
        self.notes: Counter[str] = Counter()
        self.settings: dict[str, set[str]] = {}
        self.names: dict[str, int] = {}
        self.wholes: dict[int, int] = {}
        """Prompts with a record that holds several samples -> the file of the last one."""
        self.repeats: list[str] = []
        self.clusters: dict[int, str] = {}
        self.place = 0
        """Line of the record that is read, for complaints that come late."""
        self.prompt, self.file = array("q"), array("i")
        # Of every sample; `answer` and `form` of those that have one: its text, and what it is compared as.
        self.correct, self.answered = array("b"), array("b")
        self.answer, self.form = array("q"), array("q")
        self.texts: dict[int, str] = {}
        """Of the forms, where they must be compared further."""
        self.long = 0
        self.score, self.tokens, self.sample, self.line = array("d"), array("d"), array("q"), array("q")
        # Of prompts of which only the counts are known.
        self.n, self.c = array("q"), array("q")

    def _all(self) -> tuple[array[Any], ...]:
        return (
            self.prompt, self.file, self.correct, self.answered, self.answer, self.form, self.score, self.tokens,
            self.sample, self.line, self.n, self.c,
        )  # fmt: skip

    def add(self, items: Iterable[Any], record: Record, place: int) -> None:
        """All items of one record or, if one does not fit, none.

        Args:
            items: samples, counts and notes.
            record: the record.
            place: its line.

        Raises:
            ValueError: one does not fit.
        """
        found, self.place = list(items), place
        lengths, names = [len(column) for column in self._all()], len(self.names)
        try:
            for item in found:
                item.add_to(self)
            self._note_prompts(set(self.prompt[lengths[0] :]), record, len(self.prompt) - lengths[0])
        except ValueError:
            for column, length in zip(self._all(), lengths):
                del column[length:]
            for name in list(self.names)[names:]:
                del self.names[name]
            raise
        self.note_settings([record])

    def _note_prompts(self, prompts: set[int], record: Record, samples: int) -> None:
        for index in prompts:
            if self.options.cluster is not None:
                value = str(lookup(record, self.options.cluster))
                if self.clusters.setdefault(index, value) != value:
                    raise ValueError(
                        f"{self.options.cluster}: expected one cluster for a prompt, got {value!r:.40} too"
                    )
            if self.n or samples > 1:
                if self.wholes.get(index) == self.file[-1]:
                    self.repeats.append(self.prompt_name(index) if not self.repeats else "")
                self.wholes[index] = self.file[-1]

    def prompt_name(self, index: int) -> str:
        """Of a prompt, by its number; slow."""
        return next(name for name, i in self.names.items() if i == index)

    def note_settings(self, records: list[Record]) -> None:
        """Remember how these samples were made; the first tells which fields there are."""
        for name in SETTINGS:
            if name in records[0]:
                self._note_setting(name, [str(record.get(name)) for record in records])

    def _note_setting(self, name: str, values: Iterable[str]) -> None:
        seen = self.settings.setdefault(name, set())
        if len(seen) < 100:
            seen.update(values)

    def add_sample(self, item: Sample) -> None:
        """One sample of the record.

        Raises:
            ValueError: it does not fit.
        """
        answer, score = same_answers.given(item.answer), item.score
        if self.extract is not None:
            text = item.text if item.text is not None else item.answer
            answer = same_answers.given(None if text is None else self.extract(text))
        if item.steps and (score is None or self.options.aggregate):
            score = aggregated(item.steps, self.options.aggregate or "last")
        has = tuple(n for n, v in (("score", score), ("tokens", item.tokens), ("sample", item.sample)) if v is not None)
        self.same_is_known(has)
        self._add_prompt(item.prompt)
        self.correct.append(self._label(item, answer))
        self._append_answer(answer, self._form(answer))
        if score is not None:
            self.score.append(score)
        if item.tokens is not None:
            self.tokens.append(item.tokens)
        if item.sample is not None:
            self.sample.append(item.sample)
            self.line.append(self.place)
        if item.text is not None and answer is None:
            how = (
                "; --extract says where it stands" if self.extract is None else f" by --extract {self.options.extract}"
            )
            self.add_note(Note(f"{{count}} completions are without answer{how}"))

    def add_counts(self, item: PromptCounts) -> None:
        """The one prompt of the record.

        Raises:
            ValueError: other records have samples.
        """
        self.same_is_known(("n", "c"))
        self._add_prompt(item.prompt)
        self.n.append(item.n)
        self.c.append(item.c)

    def add_note(self, item: Note) -> None:
        """Something to tell."""
        self.notes[item.text] += item.amount

    def same_is_known(self, has: tuple[str, ...]) -> None:
        """Nothing, if as much is known as of what was read before.

        Raises:
            ValueError: it is not.
        """
        self.optional = has if self.optional is None else self.optional
        if has != self.optional:
            name = min(set(has) ^ set(self.optional))
            raise ValueError(f"{name}: expected with every sample or with none, as in the first line")

    def _add_prompt(self, name: str) -> None:
        self.check_size(1)
        self.prompt.append(self.names.setdefault(name, len(self.names)))
        self.file.append(len(self.paths) - 1)

    def check_size(self, more: int) -> None:
        """Nothing, if there is room for more samples.

        Raises:
            ValueError: there is none.
        """
        if len(self.prompt) + more > self.most:
            raise ValueError(f"expected at most {self.most} samples in all")

    def _label(self, item: Sample, answer: str | None) -> bool:
        truth = item.truth
        if self.gold is not None:
            if item.prompt not in self.gold:
                raise ValueError(f"gold: expected the true answer of every prompt, got none of {item.prompt!r:.60}")
            truth = self.gold[item.prompt]
        elif item.correct is not None and (self.extract is None or truth is None):
            return item.correct
        if truth is None:
            raise ValueError("correct: expected a label or the true answer, got neither; give the answers by --gold")
        return answer is not None and same_answers.same(answer, truth, self.options.equal)

    def _form(self, answer: str | None) -> str:
        """What the answer is compared as; empty for none."""
        return "" if answer is None else self.key(answer)

    def _append_answer(self, answer: str | None, form: str) -> None:
        self.answered.append(form != "")
        if answer is not None and form != "":
            self.long += len(answer) > 40 or "\n" in answer
            self.answer.append(hash(answer))
            self.form.append(hash(form))
            if self.options.equal == "math":
                self.texts[self.form[-1]] = form

    def leave_out(self, complaint: str) -> None:
        """Count a line that is left out.

        Args:
            complaint: about it.

        Raises:
            ValueError: none may be.
        """
        if not self.options.skip_bad:
            raise ValueError(f"{complaint} (--skip-bad leaves such lines out)")
        self.skipped += 1
        if len(self.complaints) < 5:
            self.complaints.append(complaint)

    def add_bulk(self, bulk: Bulk, places: Sequence[int]) -> bool:
        """Many records of one sample each; False: they do not fit, and nothing is done.

        Args:
            bulk: their samples, column by column.
            places: their lines.
        """
        has = tuple(name for name in ("score", "tokens", "sample") if getattr(bulk, name) is not None)
        count, names = len(bulk.correct), self.names
        if self.optional not in (None, has) or len(self.prompt) + count > self.most:
            return False
        self.optional = has
        numbers = np.array([names.setdefault(name, len(names)) for name in bulk.prompt.values])
        _extend(self.prompt, numbers[bulk.prompt.codes])
        _extend(self.file, np.full(count, len(self.paths) - 1, dtype=np.int32))
        _extend(self.correct, bulk.correct)
        if bulk.answer is None:
            self.answered.frombytes(bytes(count))
        else:
            self._add_answers(bulk.answer)
        for name in has:
            _extend(getattr(self, name), getattr(bulk, name))
        if bulk.sample is not None:
            self.line.extend(places)
        for name, values in bulk.settings.items():
            self._note_setting(name, values)
        return True

    def _add_answers(self, answers: Coded) -> None:
        """Each text is looked at once."""
        forms = [self._form(same_answers.given(text)) for text in answers.values]
        there = np.array([*(form != "" for form in forms), False])[answers.codes]  # -1: the last one
        codes = answers.codes if there.all() else answers.codes[there]
        _extend(self.answered, there)
        long = [len(text) > 40 or "\n" in text for text in answers.values]
        self.long += int(np.array(long)[codes].sum()) if any(long) else 0
        for column, texts in ((self.answer, answers.values), (self.form, forms)):
            _extend(column, np.array(list(map(hash, texts)), dtype=np.int64)[codes])
        if self.options.equal == "math":
            self.texts |= {hash(form): form for form in forms if form != ""}


def _extend(column: array[Any], values: NDArray[Any]) -> None:
    column.frombytes(values.view(np.uint8).data)
