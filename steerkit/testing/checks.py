"""Checks of a steering method, each a function of one method; one that fails says what must hold and what to do."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from steerkit.contrast import State
from steerkit.plugins import Bakeable, Method, load_method, sources
from steerkit.spec import Setting
from steerkit.testing.planted import DIM, activations, planted
from steerkit.testing.tiny import generate, steered, tiny_llama

DTYPES = (torch.float32, torch.bfloat16)
STRENGTHS = (0.0, 1.0, -1.0, 0.3, 5.0)
LARGEST = 1e5
"""Calibration multiplies its first strengths three times by about 25 before it gives up."""
TWICE = 1.5
"""More than this many steps at strength 1 cannot be rounding, and two of them is the usual slip."""


@dataclass(frozen=True)
class Subject:
    """A method under test with its settings."""

    method: Method
    config: Setting

    @cached_property
    def state(self) -> State:
        """The method fitted on a planted contrast."""
        return self.method.fit(planted()[0], self.config)

    def steer(self, hidden: Tensor, *strength: float) -> Tensor:
        """`hidden` steered; one strength for all rows, or one each."""
        return self.method.steer(hidden, self.state, torch.tensor(strength).expand(len(hidden)), self.config)


Check = Callable[[Subject], None]


def same_bits(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors hold the same bytes: -0.0 is not 0.0, and NaN is NaN."""
    return left.dtype == right.dtype and torch.equal(left.view(torch.uint8), right.view(torch.uint8))


def leaves_arguments_alone(subject: Subject) -> None:
    """Neither the contrast, nor the state, nor the activations are changed in place."""
    contrast, hidden = planted()[0], activations(2)
    state = subject.method.fit(contrast, subject.config)
    fitted = save(state)
    subject.method.steer(hidden, state, torch.tensor([1.0, -0.5]), subject.config)
    assert torch.equal(contrast.positive, planted()[0].positive), "fit must not change the contrast; clone it first"
    assert save(state) == fitted, "steer must not change the state: it steers every later token with it too"
    assert same_bits(hidden, activations(2)), "steer must not change the activations in place; return new ones"


def keeps_shape_and_dtype(subject: Subject) -> None:
    """`hidden` comes back in its shape and dtype, finite."""
    for dtype in DTYPES:
        hidden = activations(2).to(dtype)
        changed = subject.steer(hidden, 1.0, -1.0)
        assert changed.shape == hidden.shape, f"steer must return {tuple(hidden.shape)}, but got {tuple(changed.shape)}"
        assert changed.dtype == dtype, f"steer must return {dtype} for {dtype}, but got {changed.dtype}"
        assert changed.isfinite().all(), "steering finite activations must give finite ones, also at a zero token"


def is_the_identity_at_zero(subject: Subject) -> None:
    """Strength 0 changes no bit."""
    for dtype in DTYPES:
        hidden = activations(3).to(dtype)
        changed = subject.steer(hidden, 0.0, 1.0, 0.0)
        assert same_bits(changed[::2].to(dtype), hidden[::2]), (
            "return rows of strength 0 untouched: torch.where(strength == 0, ...)"
        )


def reads_each_row(subject: Subject) -> None:
    """A batch gives what its rows give one by one."""
    hidden = activations(len(STRENGTHS))
    rows = [subject.steer(hidden[[i]], strength) for i, strength in enumerate(STRENGTHS)]
    torch.testing.assert_close(
        subject.steer(hidden, *STRENGTHS),
        torch.cat(rows),
        msg=lambda found: f"every row must be steered with its own strength, as when it is alone\n{found}",
    )


def reads_each_token(subject: Subject) -> None:
    """A text gives what its tokens give one by one: generation sees one at a time."""
    hidden = activations(2)
    tokens = [subject.steer(hidden[:, [i]], 1.0, -0.5) for i in range(hidden.shape[1])]
    torch.testing.assert_close(
        subject.steer(hidden, 1.0, -0.5),
        torch.cat(tokens, dim=1),
        msg=lambda found: f"every position must be steered alike, in the prompt and when it is generated\n{found}",
    )


def grows_with_strength(subject: Subject) -> None:
    """The strength, and its sign, decide how far and which way it goes."""
    hidden = activations(2)
    weak, strong, back = (subject.steer(hidden, strength) - hidden for strength in (0.3, 1.0, -1.0))
    assert weak.norm() < 0.95 * strong.norm(), (
        f"strength 0.3 must move activations less than strength 1, but moved them {weak.norm() / strong.norm():.2f} "
        "times as far; multiply what is added by the strength"
    )
    assert (back - strong).norm() > 0.05 * strong.norm(), "strengths 1 and -1 must not do the same"


def stays_finite(subject: Subject) -> None:
    """No strength that calibration may try gives a NaN."""
    for dtype in DTYPES:
        for strength in (1e-4, 1e-2, 30.0, 300.0, LARGEST):
            changed = subject.steer(activations(2).to(dtype), strength, -strength)
            assert changed.isfinite().all(), (
                f"calibration tries strengths up to {LARGEST:g}, but strength {strength:g} in {dtype} gave "
                f"{int((~changed.isfinite()).sum())} values that are NaN or infinite; clip or rescale inside steer"
            )


def goes_where_step_says(subject: Subject) -> None:
    """Positive strength goes along the step."""
    assert _steps_taken(subject).mean() > 0, (
        "strength 1 must move activations along step(), but moved them against it: steer and step differ in sign"
    )


def adds_one_step(subject: Subject) -> None:
    """Strength 1 adds at most one step."""
    taken = float(_steps_taken(subject).max())
    assert taken < TWICE, (
        f"strength 1 must add at most step(), but added {taken:.2f} times as much; is it applied twice?"
    )


def _steps_taken(subject: Subject) -> Float[Tensor, "token"]:
    """How many steps strength 1 moves the negative pole, and a token that lies along the step."""
    step = subject.method.step(subject.state, subject.config)
    hidden = torch.cat([planted()[0].negative[:16], 3 * step[None]])[None]
    return ((subject.steer(hidden, 1.0) - hidden) @ step / step.square().sum())[0]


def turns_or_scales(subject: Subject) -> bool:
    """Whether how far a token moves grows with the token: a rotation or a projection, which no fixed step bounds.

    Such a move is linear in the token, up to a part that is the same for all.
    """
    hidden = activations(2)
    once, twice = (subject.steer(h, 1.0) - h for h in (hidden, 2 * hidden))
    alike, linear = (torch.allclose(move, move[:1, :1], rtol=1e-3, atol=1e-4) for move in (once, twice - 2 * once))
    return linear and not alike


def bakes_what_it_steers(subject: Subject) -> None:
    """The edit of the weights does what the hook does."""
    method, hidden = subject.method, activations(2)
    assert isinstance(method, Bakeable)
    for strength in (0.0, 1.0, -0.7):
        edit = method.bake(subject.state, strength, nn.Identity(), subject.config)
        torch.testing.assert_close(
            edit.applied(hidden),
            subject.steer(hidden, strength),
            msg=lambda found: f"bake must do what steer does, or say NOT_BAKEABLE = 'why'\n{found}",
        )


def generates_alike_with_cache(subject: Subject) -> None:
    """A tiny model steered by it says the same with and without a cache."""
    model, prompt = tiny_llama(), torch.tensor([[5, 9, 2]]).expand(4, -1)
    plain = generate(model, prompt, use_cache=True)
    with steered(model, lambda hidden: subject.steer(hidden, 0.0, 1.0, -1.0, 3.0)):
        cached, uncached = (generate(model, prompt, use_cache=use) for use in (True, False))
    torch.testing.assert_close(cached[1], uncached[1], rtol=1e-4, atol=1e-4)
    assert torch.equal(cached[0], uncached[0]), "a token must be steered alike from the cache and without it"
    assert torch.equal(cached[0][0], plain[0][0]), "the row of strength 0 must generate what the plain model does"
    assert not torch.allclose(cached[1][3], plain[1][3]), "steering must reach the logits"


def has_no_twin(subject: Subject) -> None:
    """No other method of its site, at its defaults, does the same to the bit."""
    own = _trace(subject)
    for name in sources("methods"):
        # Another method that does not load or fit here is its author's trouble, and no twin.
        try:
            other = load_method(name)
            twin = other is not subject.method and other.SITE == subject.method.SITE
            found = _trace(Subject(other, other.Config())) if twin else None
        except Exception:
            continue
        assert found != own, (
            f"it does to the bit what {name!r} does; remove one, or change what its Config's defaults are"
        )


def _trace(subject: Subject) -> bytes:
    """What a method does, fitted on pairs that differ by more than one shift."""
    contrast, _ = planted(seed=3, pairs=64)
    stretch = torch.linspace(0.2, 3.0, DIM)
    positive = contrast.positive * stretch + contrast.negative.roll(1, 0) * 0.3
    uneven = replace(contrast, positive=positive, negative=contrast.negative * stretch)
    state = subject.method.fit(uneven, subject.config)
    return save({"hidden": subject.method.steer(activations(2), state, torch.tensor([1.0, -0.5]), subject.config)})


def recovers_what_is_planted(subject: Subject, seed: int) -> None:
    """The step points at the planted shift."""
    contrast, shift = planted(seed)
    found = subject.method.step(subject.method.fit(contrast, subject.config), subject.config)
    likeness = float(cosine_similarity(found, shift, dim=0))
    assert likeness > 0.99, f"the step must point at the planted shift, but their cosine is {likeness:.2f}"
