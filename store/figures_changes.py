"""The former name of ``figures.changes``, which notebooks import."""

from ffnscope.store.figures.changes import *  # noqa: F403
