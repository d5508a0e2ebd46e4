"""One convention for turning messages and texts into token ids: the template's own special tokens, never twice."""

from jinja2 import TemplateError

from steerkit.errors import UsageError
from steerkit.host.load import Host


def chat_ids(host: Host, user: str, system: str | None = None) -> list[int]:
    """Token ids of one user turn, after an optional system prompt, up to and including the generation prompt.

    A template without a system role gets the system text folded into the user turn.
    Raises UsageError for a model without a chat template.
    """
    if not host.tokenizer.chat_template:
        raise UsageError(
            f"model {host.name!r} has no chat template, which persona contrasts need; use an instruction-tuned one, or "
            "put a chat_template into its tokenizer_config.json"
        )
    ids: list[int] = host.tokenizer(_rendered(host, user, system), add_special_tokens=False)["input_ids"]
    return ids


def _rendered(host: Host, user: str, system: str | None) -> str:
    if system is None:
        return _template(host, [{"role": "user", "content": user}])
    try:
        return _template(host, [{"role": "system", "content": system}, {"role": "user", "content": user}])
    except TemplateError:
        return _template(host, [{"role": "user", "content": f"{system}\n\n{user}"}])


def _template(host: Host, messages: list[dict[str, str]]) -> str:
    text: str = host.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text


def generation_token(host: Host) -> str:
    """The text of the last token of the template's generation prompt: where activations are read."""
    return str(host.tokenizer.decode(chat_ids(host, "Hello.")[-1:]))


def text_ids(host: Host, text: str, *, start: bool = True) -> list[int]:
    """Token ids of plain text; `start` puts the tokenizer's own begin-of-text token in front, where it has one."""
    ids: list[int] = host.tokenizer(text, add_special_tokens=start)["input_ids"]
    return ids


def doubled_start(host: Host, ids: list[int]) -> bool:
    """Whether a prompt begins with two begin-of-text tokens, a common and silent mistake."""
    bos = host.tokenizer.bos_token_id
    return bos is not None and ids[:2] == [bos, bos]
