"""Persona pairs: the built-in ones lint clean, each planted fault is named, each malformed file is a usage error."""

from pathlib import Path

import msgspec
import pytest

from steerkit.errors import UsageError
from steerkit.personas import RULES, WARNINGS, Persona, lint, load_personas
from steerkit.records import FOUNDATIONS

TRAITS = ("authority", "care", "fairness", "loyalty", "tradition", "liberty", "honesty", "warmth")
BUILT_IN = load_personas()

CLEAN = Persona(
    name="planted",
    description="Speaking softly rather than shouting.",
    positive="a person who speaks softly in public",
    negative="a person who shouts loudly in public",
    target="Care",
    sign=1,
)

PLANTED: dict[str, dict[str, str]] = {
    "negated-pole": {"negative": "a person who does not speak softly"},
    "prefix-negation": {"positive": "a deeply honest neighbour", "negative": "a deeply dishonest neighbour"},
    "answer-label": {"positive": "a person who defies authority in public"},
    "assistant": {"negative": "a helpful assistant who speaks in public", "positive": "a helpful assistant who shouts"},
    "first-person": {"positive": "a person who speaks softly in my house"},
    "single-clause": {"positive": "a person who speaks softly but stays put"},
    "noun-phrase": {"positive": "be somebody soft in public", "negative": "be somebody loud in public"},
    "identical-poles": {"positive": "a person who shouts loudly in public"},
    "length": {
        "negative": "a person who shouts loudly in public at dawn, noon and dusk",
        "positive": "a person, who hums",
    },
    "opening": {"positive": "somebody who speaks softly in public"},
    "punctuation": {"positive": "a person who speaks softly in public!"},
    "brevity": {
        "positive": "a person who speaks softly in public" + " and in the house of a friend" * 3,
        "negative": "a person who shouts loudly in public" + " and in the house of a friend" * 3,
    },
    "tone": {"positive": "a person who always speaks softly"},
    "caricature": {"negative": "a person who is cruel in public"},
}

VARIANTS = [
    ("negated-pole", {"negative": "a person who doesn't speak softly"}),
    ("negated-pole", {"negative": "a person who doesn\u2019t speak softly"}),
    ("negated-pole", {"negative": "a person who speaks without any softness"}),
    ("answer-label", {"positive": "a person who speaks carefully in public"}),
    ("answer-label", {"negative": "a person who shouts unfairly in public"}),
    ("answer-label", {"template": "Taking care, you are {pole}."}),
    ("assistant", {"positive": "a person who speaks like AI"}),
    ("single-clause", {"positive": "a person who hums. It is soft", "negative": "a person who shouts. It is loud"}),
    ("single-clause", {"positive": "a person, who hums, and speaks", "negative": "a person, who shouts, mostly daily"}),
    ("opening", {"positive": "one soft voice in public", "negative": "a loud voice in public"}),
]

INNOCENT = [
    {"positive": "a person who builds a career in public"},
    {"positive": "a person who notes every fairy in public"},
    {"positive": "a person who weighs the enormous crowd"},
    {"positive": "a person who minds others' houses", "negative": "a person who robs others' houses"},
]


def planted(**changes: str) -> Persona:
    return msgspec.structs.replace(CLEAN, **changes)


def swapped(persona: Persona) -> Persona:
    return msgspec.structs.replace(persona, positive=persona.negative, negative=persona.positive)


def rules_of(persona: Persona) -> set[str]:
    return {finding.rule for finding in lint(persona)}


def test_the_documented_traits_are_built_in() -> None:
    assert set(TRAITS) <= set(BUILT_IN)


def test_every_foundation_is_the_target_of_a_built_in_trait() -> None:
    assert {persona.target for persona in BUILT_IN.values()} == set(FOUNDATIONS)


def test_the_authority_trait_lowers_authority() -> None:
    assert (BUILT_IN["authority"].target, BUILT_IN["authority"].sign) == ("Authority", -1)


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_personas_lint_clean(name: str) -> None:
    assert lint(BUILT_IN[name]) == []


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_pairs_are_value_conflicts(name: str) -> None:
    poles = (BUILT_IN[name].positive, BUILT_IN[name].negative)
    assert all("even when" in pole or " over " in pole for pole in poles)


@pytest.mark.parametrize("name", BUILT_IN)
def test_system_prompts_differ_in_the_pole_alone(name: str) -> None:
    persona = BUILT_IN[name]
    assert persona.system_prompt("positive") == f"You are {persona.positive}."
    assert persona.system_prompt("negative") == f"You are {persona.negative}."


def test_the_clean_pair_has_no_finding() -> None:
    assert lint(CLEAN) == []


def test_every_rule_has_a_planted_pair() -> None:
    assert set(PLANTED) == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_a_planted_fault_fires_exactly_its_rule(rule: str) -> None:
    assert rules_of(planted(**PLANTED[rule])) == {rule}


@pytest.mark.parametrize(("rule", "changes"), VARIANTS)
def test_variants_of_a_fault_fire_the_same_rule(rule: str, changes: dict[str, str]) -> None:
    assert rules_of(planted(**changes)) == {rule}


@pytest.mark.parametrize("rule", RULES)
def test_rules_treat_both_poles_alike(rule: str) -> None:
    assert rules_of(swapped(planted(**PLANTED[rule]))) == {rule}


@pytest.mark.parametrize("rule", RULES)
def test_severity_is_a_warning_for_advice_and_an_error_otherwise(rule: str) -> None:
    expected = "warning" if rule in WARNINGS else "error"
    assert {finding.severity for finding in lint(planted(**PLANTED[rule]))} == {expected}


@pytest.mark.parametrize("changes", INNOCENT)
def test_words_that_only_resemble_a_fault_pass(changes: dict[str, str]) -> None:
    assert lint(planted(**changes)) == []


def test_a_finding_quotes_the_pole_and_the_word() -> None:
    (finding,) = lint(planted(negative="a person who never speaks softly"))
    assert "negative says 'never'" in finding.why


@pytest.mark.parametrize(("words", "fires"), [(6, False), (5, True)])
def test_lengths_may_differ_by_40_percent_of_the_longer(words: int, fires: bool) -> None:
    longer, shorter = "a person who " + "hums " * 7, "a person who " + "sings " * (words - 3)
    assert ("length" in rules_of(planted(positive=longer, negative=shorter))) is fires


VALID = {
    "description": '"Speaking softly rather than shouting."',
    "positive": '"a person who speaks softly"',
    "negative": '"a person who shouts loudly"',
    "target": '"Care"',
    "sign": "1",
    "along": '["Liberty"]',
    "template": '"Be {pole}."',
}


def toml(fields: dict[str, str]) -> str:
    return "\n".join(["[soft]", *(f"{field} = {value}" for field, value in fields.items())])


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def message_of(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        load_personas(path)
    return str(caught.value)


def test_a_users_file_replaces_the_built_in_one(tmp_path: Path) -> None:
    personas = load_personas(written(tmp_path, toml(VALID)))
    assert list(personas) == ["soft"]
    assert personas["soft"].along == ("Liberty",)
    assert personas["soft"].system_prompt("negative") == "Be a person who shouts loudly."


def test_along_and_template_are_optional(tmp_path: Path) -> None:
    required = {field: value for field, value in VALID.items() if field not in ("along", "template")}
    persona = load_personas(written(tmp_path, toml(required)))["soft"]
    assert (persona.along, persona.template) == ((), "You are {pole}.")


@pytest.mark.parametrize("field", ["description", "positive", "negative", "target", "sign"])
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    path = written(tmp_path, toml({name: value for name, value in VALID.items() if name != field}))
    message = message_of(path)
    assert f"{path}: [soft] must have the field {field!r}" in message
    assert "got only" in message


def test_an_unknown_field_is_named_with_the_known_ones(tmp_path: Path) -> None:
    path = written(tmp_path, toml(VALID | {"colour": '"red"'}))
    message = message_of(path)
    assert f"{path}: [soft]" in message
    assert "got 'colour'; known: description, positive, negative, target, sign, along, template" in message


MALFORMED = [
    ("target", '"Purity"', "target must name a foundation, but got 'Purity'; known: Care, Fairness"),
    ("along", '["Fairnes"]', "along must name a foundation, but got 'Fairnes'; known: Care, Fairness"),
    ("along", '["Care"]', "along must list foundations other than target, but got 'Care' in both"),
    ("sign", "0", "sign must be -1 or 1 (the intended change of log p[target]), but got 0"),
    ("sign", "2", "but got 2"),
    ("sign", "true", "but got True"),
    ("sign", "1.0", "but got 1.0"),
    ("sign", '"+1"', "but got '+1'"),
    ("positive", '" "', "positive must be a non-empty text, but got ' '"),
    ("description", '""', "description must be a non-empty text, but got ''"),
    ("negative", "3", "Expected `str`, got `int` - at `$.negative`"),
    ("along", '"Care"', "Expected `array`, got `str` - at `$.along`"),
    ("template", '"You are kind."', "template must contain {pole} exactly once, but got 'You are kind.'"),
    ("template", '"{pole} {pole}"', "template must contain {pole} exactly once"),
]


@pytest.mark.parametrize(("field", "value", "expected"), MALFORMED)
def test_a_malformed_field_is_a_usage_error(tmp_path: Path, field: str, value: str, expected: str) -> None:
    path = written(tmp_path, toml(VALID | {field: value}))
    message = message_of(path)
    assert message.startswith(f"{path}: [soft] ")
    assert expected in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must hold at least one trait"),
        ("soft = 3", "[soft] must be a table of fields, but got 3"),
        ("[soft", "must be valid TOML"),
    ],
)
def test_a_file_that_holds_no_tables_is_a_usage_error(tmp_path: Path, text: str, expected: str) -> None:
    path = written(tmp_path, text)
    message = message_of(path)
    assert str(path) in message
    assert expected in message


def test_a_file_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    assert "absent.toml: the persona file must be readable" in message_of(tmp_path / "absent.toml")


def test_a_file_that_is_not_text_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    assert "must be valid TOML in UTF-8" in message_of(path)
