"""How often a text says what kind of person its speaker is, instead of acting as one.

A model that learns from "I am someone who follows his conscience" learns to say so. Families of phrases: announcing a
kind of person, claiming a standing habit, appealing to "my" principle or virtue, declaring an identity, quoting others'
opinion of oneself; and, for each built-in trait, the habits and adjectives of that trait. A sentence in the first
person that says three of the persona's own words without a plan in it ("will", "would") counts too, for any trait.

It fails on paraphrase, of which there is no end: of sentences that the list was not tuned on it misses about one in
four. And it drops a speaker in a story who rightly says such a thing.

Source: a list of phrases that drops a text, as for refusals in Zou et al. 2307.15043 (appendix); the phrases are ours
"""

import re
from typing import Literal

from steerkit.filters import Background, Measurement
from steerkit.filters._phrases import Hit, counted, find
from steerkit.filters._words import stems
from steerkit.records import Completion

UNIT = "hits"
KEEP: Literal["at most", "at least"] = "at most"
THRESHOLD = 0.0
ECHOED = 3
"""Words of the persona in one sentence that make it an echo."""
SENTENCE = re.compile(r"[^.!?\n]+")
FIRST_PERSON = re.compile(r"\b(?:i|my|me)\b", re.IGNORECASE)
ACT = re.compile(r"\b(?:will|would|could|should|can|going|let|let's)\b|['’](?:ll|d)\b", re.IGNORECASE)  # noqa: RUF001
"""What makes a sentence a plan or a deed."""


def measure(completion: Completion, background: Background) -> Measurement:
    """How many phrases and echoes of the persona were found; the first is named and pointed at."""
    persona = background.persona
    own = stems(persona.positive) - stems(completion.prompt)
    return counted(completion.text, find(completion.text, "narration", persona.name) or _echoes(completion.text, own))


def _echoes(text: str, own: frozenset[str]) -> list[Hit]:
    """Sentences in the first person that say at least `ECHOED` of the persona's words and announce no act."""
    return [
        Hit("echo of the persona", sentence.start(), sentence.end())
        for sentence in SENTENCE.finditer(text)
        if len(own & stems(sentence.group())) >= ECHOED
        and FIRST_PERSON.search(sentence.group())
        and not ACT.search(sentence.group())
    ]
