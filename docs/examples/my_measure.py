"""A measure of answers of your own: `notus eval answers python:my_measure.py:short runs/answers`."""


def short(output):
    words = output.text.split()
    return len(words) <= 10 if words else None  # an empty answer is not scored
