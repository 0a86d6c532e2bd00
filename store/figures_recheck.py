"""The former name of ``figures.recheck``, which notebooks import."""

from ffnscope.store.figures.recheck import *  # noqa: F403
