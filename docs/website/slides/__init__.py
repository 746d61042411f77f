"""Lessons as presentations: Part 1 of each, one page of reveal.js."""

from website.slides.deck import Deck, deck
from website.slides.pages import copy_static, write_decks

__all__ = ["Deck", "copy_static", "deck", "write_decks"]
