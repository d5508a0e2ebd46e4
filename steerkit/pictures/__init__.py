"""Draws what the gates and the comparison show; nothing else in steerkit draws."""
