"""Scores by scikit-learn, scipy and sacrebleu, printed as UER-py prints them: classes, correlations, texts.

Packages are imported when they are needed; without one, a sentence says how to get it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from uer_ds.errors import UserError
from uer_ds.finetune.task import Scores

WIDEST_TABLE = 20
"""Labels whose confusion matrix still fits a terminal."""


def classification_scores(predicted: Sequence[int], right: Sequence[int], names: Sequence[str]) -> Scores:
    """Accuracy, macro F1, the confusion matrix and one line for each label: precision, recall, F1.

    A class without examples or predictions scores 0.
    """
    with needed("scikit-learn"):
        from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
    numbers = list(range(len(names)))
    table = confusion_matrix(right, predicted, labels=numbers).T
    scores = precision_recall_fscore_support(right, predicted, labels=numbers, zero_division=0.0)
    total, correct = int(table.sum()), int(table.diagonal().sum())
    accuracy = correct / total if total else 0.0
    lines = ["Confusion matrix (rows: predicted, columns: right):", *_table_lines(table.tolist(), names)]
    lines.append("Report precision, recall, and f1:")
    for name, p, r, f1, _ in zip(names, *scores, strict=True):
        lines.append(f"Label {name}: {p:.3f}, {r:.3f}, {f1:.3f}")
    lines.append(f"Acc. (Correct/Total): {accuracy:.4f} ({correct}/{total})")
    return Scores({"accuracy": accuracy, "macro_f1": float(scores[2].mean())}, tuple(lines))


def correlations(found: Sequence[float], right: Sequence[float]) -> Scores:
    """Spearman's correlation of ranks and Pearson's of values; 0 where one side never changes."""
    with needed("scipy"):
        from scipy.stats import pearsonr, spearmanr
    constant = len(set(found)) < 2 or len(set(right)) < 2
    spearman, pearson = (0.0 if constant else float(f(found, right).statistic) for f in (spearmanr, pearsonr))
    return Scores({"spearman": spearman, "pearson": pearson}, (f"Spearman corr: {spearman:.4f}",))


def text_scores(found: Sequence[Sequence[int]], right: Sequence[Sequence[int]]) -> Scores:
    """Share of exact matches, and BLEU, chrF and ROUGE-L in percent, of token ids.

    For sacrebleu every id becomes a word (BLEU) or one character of a private plane (chrF), so that no rule of another
    language cuts the text.
    """
    with needed("sacrebleu"):
        from sacrebleu.metrics import BLEU, CHRF
    words = [[" ".join(map(str, ids)) for ids in texts] for texts in (found, right)]
    signs = [["".join(chr(0xF0000 + i) for i in ids) for ids in texts] for texts in (found, right)]
    bleu = BLEU(tokenize="none", effective_order=True).corpus_score(words[0], [words[1]]).score
    chrf = CHRF().corpus_score(signs[0], [signs[1]]).score
    rouge = [rouge_l(a, b) for a, b in zip(found, right, strict=True)]
    correct, total = sum(list(a) == list(b) for a, b in zip(found, right, strict=True)), len(right)
    values = {"accuracy": correct / total, "bleu": bleu, "chrf": chrf, "rouge_l": 100 * sum(rouge) / total}
    return Scores(values, (f"Acc. (Correct/Total): {correct / total:.4f} ({correct}/{total})",))


def entity_report(right: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> list[str]:
    """Lines of precision, recall, F1 and number for each type of entity, by seqeval; none where it is not installed."""
    try:
        from seqeval.metrics import classification_report
    except ImportError:
        return []
    if not any(tag.startswith("B") for tags in (*right, *found) for tag in tags):
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tags that seqeval does not know are spans for it all the same
        text: str = classification_report([list(t) for t in right], [list(t) for t in found], digits=3, zero_division=0)
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def rouge_l(found: Sequence[int], right: Sequence[int]) -> float:
    """F1 of the longest common subsequence (Lin 2004), 0 to 1."""
    lengths = [0] * (len(right) + 1)
    for item in found:
        before = 0
        for place, other in enumerate(right, 1):
            above = lengths[place]
            lengths[place] = before + 1 if item == other else max(above, lengths[place - 1])
            before = above
    common = lengths[-1]
    return 2 * common / (len(found) + len(right)) if common else 0.0


@contextmanager
def needed(package: str, what: str = "scores need") -> Iterator[None]:
    """Importing inside the `with` block; a UserError when the package is not installed."""
    try:
        yield
    except ImportError as error:
        raise UserError(f"{what} the package {package}; `pip install 'uer_ds[finetune]'`.") from error


def _table_lines(table: Sequence[Sequence[int]], names: Sequence[str]) -> list[str]:
    if len(names) > WIDEST_TABLE:
        return [f"{len(names)} labels: not shown"]
    cells = [["", *names], *([name, *map(str, row)] for name, row in zip(names, table, strict=True))]
    width = max(len(cell) for row in cells for cell in row)
    return ["  ".join(cell.rjust(width) for cell in row) for row in cells]
