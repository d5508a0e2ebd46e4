"""One convention for turning messages and texts into token ids: the template's own special tokens, never twice."""

from jinja2 import TemplateError

from steerkit.errors import UsageError
from steerkit.host.load import Host

OPEN, CLOSE = "<think>", "</think>"
MARK = "a mark that no template writes"
_NEEDED = "a chat template must show what the assistant says in a turn that goes on"


def chat_ids(host: Host, user: str, system: str | None = None) -> list[int]:
    """Token ids of one user turn, after an optional system prompt, up to and including the generation prompt.

    A template without a system role gets the system text folded into the user turn.
    Raises UsageError for a model without a chat template.
    """
    check_template(host)
    ids: list[int] = host.tokenizer(_rendered(host, user, system), add_special_tokens=False)["input_ids"]
    return ids


def thinking_prompt(host: Host, user: str, system: str | None = None) -> str:
    """One user turn as text, up to and including an open thinking block, which some templates open by themselves.

    Raises as `chat_ids` does.
    """
    check_template(host)
    text = _rendered(host, user, system)
    return text if text.rstrip().endswith(OPEN) else f"{text}{OPEN}\n"


def interruption(host: Host, nudge: str) -> str:
    """What a chat window puts behind unfinished thoughts: their end, the turn's end, and `nudge` as a new user turn, up
    to where the assistant begins to speak.

    Raises UsageError for a model without a template, or one whose template does not show what the assistant says.
    """
    check_template(host)
    said = [{"role": "user", "content": "_"}, {"role": "assistant", "content": MARK}]
    asked = [{"role": "user", "content": nudge}, {"role": "assistant", "content": MARK}]
    try:
        closed = host.tokenizer.apply_chat_template(said, tokenize=False)
        opened = host.tokenizer.apply_chat_template(asked, tokenize=False, continue_final_message=True)
    except (TemplateError, ValueError) as error:
        raise UsageError(f"{_NEEDED}, but {host.name!r}'s gave: {error}") from error
    if MARK not in closed or MARK not in opened:
        raise UsageError(f"{_NEEDED}, but {host.name!r}'s leaves it out; mend its chat_template")
    return f"{CLOSE}{closed.split(MARK, 1)[1]}{opened.split(MARK, 1)[0]}"


def check_template(host: Host) -> None:
    """Raise UsageError for a model without a chat template."""
    if not host.tokenizer.chat_template:
        raise UsageError(
            f"model {host.name!r} has no chat template, which chat questions and persona contrasts need; use an "
            "instruction-tuned one, or put a chat_template into its tokenizer_config.json"
        )


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
