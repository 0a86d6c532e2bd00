"""The models of opened stores, each loaded once and kept as long as its session."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from ffnscope.tui.state.session import Session

if TYPE_CHECKING:
    from ffnscope.core.prompt import PromptModel

_loading = Lock()
_models: WeakKeyDictionary[Session, PromptModel] = WeakKeyDictionary()
_asked: WeakKeyDictionary[Session, list[str]] = WeakKeyDictionary()


def model_of(session: Session) -> PromptModel:
    """The session's model. Slow the first time: call it in a thread. Raises UserError where it cannot be loaded."""
    with _loading:
        if session not in _models:
            # torch takes seconds to import, and most sessions never need it.
            from ffnscope.core.prompt import PromptModel

            _models[session] = PromptModel.load(session.store.run)
        return _models[session]


def prompts_of(session: Session) -> list[str]:
    """The texts that were run in this session, oldest first."""
    return _asked.setdefault(session, [])
