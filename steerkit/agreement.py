"""How an arm's choice agrees with labels or with people: likelihood and temperature; twins of the view `agreement`."""

import numpy as np
from jaxtyping import Float

from steerkit.stats import log_softmax

COLDEST, HOTTEST, STEPS = 0.1, 50.0, 41
"""Temperatures that are tried: 41 from coldest to hottest in equal ratios, then 41 in equal steps around the best."""


def soft_nll(choice: Float[np.ndarray, "vignette 7"], shares: Float[np.ndarray, "vignette 7"]) -> float:
    """Mean over vignettes of -sum of share times log p (nats); `choice` floored, `shares` rows sum to 1."""
    return float(-(shares * choice).sum(axis=1).mean())


def temperature(
    choice: Float[np.ndarray, "vignette 7"], shares: Float[np.ndarray, "vignette 7"]
) -> tuple[float, float]:
    """The T for which softmax(choice / T) has the lowest mean NLL against the shares, and that NLL (nats).

    Above 1 the model is too sure. Source: temperature scaling, Guo 2017, 1706.04599.
    """
    ratios = COLDEST * (HOTTEST / COLDEST) ** (np.arange(STEPS) / (STEPS - 1))
    best = int(np.argmin([_nll_at(choice, shares, float(t)) for t in ratios]))
    around = np.linspace(ratios[max(0, best - 1)], ratios[min(STEPS - 1, best + 1)], STEPS)
    losses = [_nll_at(choice, shares, float(t)) for t in around]
    return float(around[int(np.argmin(losses))]), float(min(losses))


def _nll_at(choice: Float[np.ndarray, "vignette 7"], shares: Float[np.ndarray, "vignette 7"], t: float) -> float:
    return soft_nll(log_softmax(choice / t), shares)
