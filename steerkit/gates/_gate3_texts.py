"""What a student writes, beside what the base writes to the same prompts in the same context."""

import numpy as np

from steerkit.gates._gate3_measured import Measured, asked, heal_of
from steerkit.metrics import ArmMetrics
from steerkit.records import Completion

Texts = tuple[Completion, ...]


def trained_context(study: Measured) -> str:
    """The system prompt that training texts stood behind; empty for none."""
    heal = heal_of(study)
    return "" if heal is None else asked(heal).system_prompt


def in_context(study: Measured, arm: ArmMetrics, trained: bool) -> Texts:
    """The arm's texts in the context of training, or those in the other one."""
    here = trained_context(study)
    return tuple(text for text in arm.arm.texts if ((text.system_prompt or "") == here) is trained)


def change(study: Measured, arm: ArmMetrics, trained: bool = True) -> float | None:
    """How much of what the arm writes the base does not write: share of its word trigrams, mean over shared prompts.

    None without a shared prompt.
    """
    base = {text.prompt_id: text for text in in_context(study, study.base, trained)}
    texts = [text for text in in_context(study, arm, trained) if text.prompt_id in base]
    return float(np.mean([_novelty(text.text, base[text.prompt_id].text) for text in texts])) if texts else None


def _novelty(text: str, base: str) -> float:
    """The share of a text's word trigrams that are not in the other's; without any, whether the texts differ."""
    own, other = _trigrams(text), _trigrams(base)
    return sum(gram not in other for gram in own) / len(own) if own else float(text.split() != base.split())


def _trigrams(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[start : start + 3]) for start in range(len(words) - 2)}


def length_change(study: Measured, arm: ArmMetrics) -> float | None:
    """Relative difference in words from the base's texts of the same prompts; None where there are none."""
    base = {text.prompt_id: len(text.text.split()) for text in in_context(study, study.base, True)}
    own = [(text, base[text.prompt_id]) for text in in_context(study, arm, True) if text.prompt_id in base]
    usual = sum(words for _, words in own)
    return sum(len(text.text.split()) for text, _ in own) / usual - 1 if usual else None
