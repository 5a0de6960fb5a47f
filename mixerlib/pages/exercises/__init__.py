"""Exercises that answer: what is right, and what to say to each plausible wrong answer.

A chapter's exercises have a module here. What is right is computed by the library.
"""

from mixerlib.pages.exercises.entries import check
from mixerlib.pages.exercises.outcome import Outcome, Row

__all__ = ["Outcome", "Row", "check"]
