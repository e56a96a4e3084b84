"""Labelling functions of your own: `notus label answers.jsonl --by python:my_labels.py:names_a_river …`."""

RIVERS = ("oder", "elbe", "rhine")


def names_a_river(prompt, answers):
    return [1.0 if any(river in text.lower() for river in RIVERS) else 0.0 for text in answers]


def refuses(prompt, answers):
    return [0.0 if text.startswith("I cannot") else 1.0 for text in answers]


def brief(prompt, answers):
    return [-len(text) if len(text) > 200 else None for text in answers]  # short ones: it cannot tell
