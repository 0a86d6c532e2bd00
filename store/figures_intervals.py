"""``figures.intervals`` under the name that the README of earlier versions gave it, so that their scripts run."""

from ffnscope.store.figures.intervals import *  # noqa: F403
