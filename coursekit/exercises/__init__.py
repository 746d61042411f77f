"""Exercises that check themselves, a module for each lesson: `from coursekit.exercises import lesson03 as ex`."""
