"""The text of a row: one field of it, by name, or a chat through the tokenizer's template."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ffnscope.store.errors import UserError

DEFAULT_FIELD = "text"
Chat = Callable[[list[dict[str, Any]]], str]  # messages with role and content -> text

CHAT_FIELDS = ("messages", "conversations", "conversation", "chat")
ID_FIELDS = ("input_ids", "token_ids", "tokens", "ids")
USE_NPY = "token ids are read from .npy files: int32 windows [windows, length] written by numpy.save"
_MOST_NAMES = 8
_ROLES = {"human": "user", "gpt": "assistant"}  # ShareGPT's names


@dataclass(frozen=True)
class TextField:
    """Where a row's text stands. `name`: a field or column; dots lead into nested ones, as in `data.text`.

    chat: renders the messages of a chat as text; None where the model's tokenizer has no chat template.
    """

    name: str = DEFAULT_FIELD
    chat: Chat | None = None

    def text_of(self, row: object, where: str) -> str | None:
        """The text of a JSON object or another dict; None for null.

        Raises UserError, which begins with `where`, for rows without the field, and for fields without text.
        """
        if not isinstance(row, dict):
            raise UserError(f"{where}: {kind_of(row)} instead of an object with a string field {self.name!r}")
        try:
            value = self._value(row)
        except KeyError:
            raise self.missing(f"{where}: no field {self.name!r}", field_names(row)) from None
        return self.text(value, f"{where}: field {self.name!r}")

    def is_chat(self, row: dict[str, Any]) -> bool:
        """Whether the text of a row that has the field is a chat's."""
        return isinstance(self._value(row), list)

    def _value(self, row: dict[str, Any]) -> Any:
        if self.name in row:
            return row[self.name]
        value: Any = row
        for name in self.name.split("."):
            if value is None:
                return None
            if not isinstance(value, dict):
                raise KeyError(name)
            value = value[name]
        return value

    def text(self, value: object, where: str) -> str | None:
        """The text of the field's value. Raises UserError, which begins with `where`, for what is neither text nor a chat."""
        if value is None or isinstance(value, str):
            return value
        if value == []:
            return None
        if isinstance(value, list) and all(isinstance(message, dict) for message in value):
            return self._render(value, where)
        if isinstance(value, list) and all(type(item) is int for item in value):
            raise UserError(f"{where} holds token ids; {USE_NPY}")
        raise UserError(f"{where} holds {kind_of(value)}, not a string; write the text as one string, or name another "
                        "field with --text-field")  # fmt: skip

    def missing(self, what: str, names: Iterable[str]) -> UserError:
        """The error for rows that have only fields of other names."""
        known = list(names)
        shown = ", ".join(known[:_MOST_NAMES]) + (", ..." if len(known) > _MOST_NAMES else "")
        chats = [name for name in known if name in CHAT_FIELDS]
        ids = [name for name in known if name in ID_FIELDS]
        if chats:
            way = f"--text-field {chats[0]} reads the chats through the tokenizer's template"
        elif ids:
            way = f"--text-field names another; {USE_NPY}"
        else:
            way = "--text-field names another"
        return UserError(f"{what} (it has {shown or 'none'}); {way}")

    def _render(self, messages: list[dict[str, Any]], where: str) -> str:
        chat = [_message(message) for message in messages]
        if any(message is None for message in chat):
            raise UserError(f"{where} holds a list of objects that are not a chat (role and content); name another field "
                            "with --text-field")  # fmt: skip
        if self.chat is None:
            raise UserError(f"{where} holds a chat, but the model's tokenizer has no chat template; name a field with "
                            "plain text with --text-field")  # fmt: skip
        try:
            return self.chat([message for message in chat if message is not None])
        except Exception as error:  # templates are programs, which fail in any way
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            raise UserError(f"{where}: the tokenizer's chat template refuses this chat ({reason}); leave it out, or name "
                            "another field with --text-field") from error  # fmt: skip


def _message(message: dict[str, Any]) -> dict[str, Any] | None:
    """A message with role and content, ShareGPT's from and value renamed; None where it has neither."""
    if "role" in message and "content" in message:
        return {name: value for name, value in message.items() if value is not None}
    if "from" in message and "value" in message:
        return {"role": _ROLES.get(message["from"], message["from"]), "content": message["value"]}
    return None


def field_names(row: dict[str, Any]) -> list[str]:
    """The fields of a row, by the names that --text-field takes: those inside an object with a dot."""
    names: list[str] = []
    for name, value in row.items():
        names += [f"{name}.{inner}" for inner in value] if isinstance(value, dict) and value else [name]
    return names


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    if isinstance(value, list):
        return f"a list of {kind_of(value[0]).partition(' ')[2]}s" if value else "an empty list"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", dict: "an object"}
    return names.get(type(value), "null")
