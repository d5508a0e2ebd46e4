"""The method keeps steerkit's contract."""

from steerkit.testing import MethodContract


class TestMedianShift(MethodContract):
    name = "median_shift"
