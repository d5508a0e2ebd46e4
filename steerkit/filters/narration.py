"""How often a text says what kind of person its speaker is, instead of acting as one.

A model that learns from "I am someone who follows his conscience" learns to say so. Families of phrases: announcing a
kind of person, claiming a standing habit, appealing to "my" principle or virtue, declaring an identity, quoting others'
opinion of oneself; and, for each built-in trait, the habits and adjectives of that trait. Two kinds of sentence in the
first person count too, whatever their wording: one that says three of the persona's own words without a plan in it
("will", "would"), and a self-portrait: a word of character, said in a lasting way ("never", "raised"), with nothing of
the case at hand and no deed.

It fails on paraphrase, of which there is no end: of 160 narrations written by others without sight of the phrases it
finds 67 of 100 imaginative ones, and found 42 of 60 plain ones (54 since they were read); of as many sentences that act
on the trait it drops one. And it drops a speaker in a story who rightly says such a thing.

Source: a list of phrases that drops a text, as for refusals in Zou et al. 2307.15043 (appendix); the phrases are ours
"""

import re
from typing import Literal

from steerkit.filters import Background, Measurement
from steerkit.filters._phrases import STRAIGHT, Hit, counted, find, portrait
from steerkit.filters._words import stems
from steerkit.records import Completion

UNIT = "hits"
KEEP: Literal["at most", "at least"] = "at most"
THRESHOLD = 0.0
ECHOED = 3
"""Words of the persona in one sentence that make it an echo."""
SENTENCE = re.compile(r"[^.!?\n]+")
FIRST_PERSON = re.compile(r"\b(?:i|my|me)\b", re.IGNORECASE)
SPEAKER = re.compile(r"\b(?:i|me|my|mine|myself|we|our|us)\b", re.IGNORECASE)
ACT = re.compile(r"\b(?:will|would|could|should|can|going|let|let's)\b|['’](?:ll|d)\b", re.IGNORECASE)  # noqa: RUF001
"""What makes a sentence a plan or a deed."""


def measure(completion: Completion, background: Background) -> Measurement:
    """How many phrases and echoes of the persona were found; the first is named and pointed at."""
    persona = background.persona
    own, text = stems(persona.positive) - stems(completion.prompt), completion.text
    hits = find(text, "narration", persona.name) or _echoes(text, own) or _portraits(text, persona.name)
    return counted(text, hits)


def _echoes(text: str, own: frozenset[str]) -> list[Hit]:
    """Sentences in the first person that say at least `ECHOED` of the persona's words and announce no act."""
    return [
        Hit("echo of the persona", sentence.start(), sentence.end())
        for sentence in SENTENCE.finditer(text)
        if len(own & stems(sentence.group())) >= ECHOED
        and FIRST_PERSON.search(sentence.group())
        and not ACT.search(sentence.group())
    ]


def _portraits(text: str, trait: str) -> list[Hit]:
    """Sentences in the first person about a lasting trait of the speaker, and about nothing else."""
    lasting, case_or_deed, character = portrait(trait)
    plain = text.translate(STRAIGHT)
    return [
        Hit("self-portrait", sentence.start(), sentence.end())
        for sentence in SENTENCE.finditer(plain)
        if all(pattern.search(sentence.group()) for pattern in (SPEAKER, lasting, character))
        and not case_or_deed.search(sentence.group())
    ]
