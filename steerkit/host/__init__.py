"""The only package that knows transformers: load a model, render chats, run edited forward passes, generate."""

from steerkit.host.blocks import Edits, edited
from steerkit.host.chat import chat_ids, text_ids
from steerkit.host.generate import Generation, Writing, end_token, generate
from steerkit.host.load import Host, load

__all__ = ["Edits", "Generation", "Host", "Writing", "chat_ids", "edited", "end_token", "generate", "load", "text_ids"]
