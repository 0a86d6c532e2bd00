"""The former name of ``figures.intervals``, which notebooks import."""

from ffnscope.store.figures.intervals import *  # noqa: F403
