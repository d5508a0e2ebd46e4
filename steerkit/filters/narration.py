"""How much the most self-describing sentence of a text says what kind of person its speaker is, instead of acting.

A model that learns from "I am someone who follows his conscience" learns to say so. Wordings have no end, so the model
itself reads them: a classifier on the untouched base's hidden states, fitted on labelled sentences while the model is
loaded (`steerkit/stages/narrate.py`), gives each sentence in the first person a margin, above 0 on the narrating side
and about 1 for a clear case; the text's value is the largest one. Plain announcements on a short list of phrases count
unless the model is sure that nothing in the text narrates. A text that no model read, of an older store or of a model
on which the classifier is no good, is judged by the phrases alone, and the reason says so: they find about three in
ten.

It fails on odd sentences about the speaker that praise nothing ("I'm all ears"), which it takes for narration now and
then, and it drops a speaker in a story who rightly says what kind of person he is.

The sentences and phrases are ours; the machine is a support vector machine (doi:10.1007/BF00994018).

Source: Alain & Bengio 1610.01644 (probes that classify a model's hidden states)
"""

from typing import Literal

from steerkit.filters import Background, Measurement
from steerkit.filters._phrases import counted, find
from steerkit.records import Completion

UNIT = "margin"
KEEP: Literal["at most", "at least"] = "at most"
THRESHOLD = 0.15
"""Chosen on narrations that no classifier was fitted on, and on base texts."""
PLAIN = 1.0
"""The margin of a plain announcement, at least."""
SURE = -0.3
"""Margin up to which the model is so sure that a text does not narrate that a phrase in it says nothing."""


def measure(completion: Completion, background: Background) -> Measurement:
    """The largest margin of a sentence, and that sentence; a phrase, where one says more."""
    found = find(completion.text, "narration")
    margin = completion.narration
    if margin is None:
        spoken = counted(completion.text, found)
        return Measurement(spoken.value, f"not read by a model; phrases: {spoken.reason}", spoken.start, spoken.stop)
    if found and SURE < margin < PLAIN:
        spoken = counted(completion.text, found)
        return Measurement(PLAIN, spoken.reason, spoken.start, spoken.stop)
    start, stop = completion.narration_start, completion.narration_stop
    if start is None or stop is None:
        return Measurement(margin, "no sentence in the first person")
    return Measurement(margin, f"self-description {margin:+.2f}: {completion.text[start:stop]!r}", start, stop)
