"""Instruments: how the trait and the coherence are read. One file each; a plugin's name is its file's name."""
