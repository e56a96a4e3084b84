"""A ranker of your own: `notus rank python:my_ranker.py:fewest_words runs/answers`."""


def fewest_words(prompt, answers):
    return [-float(len(answer.split())) for answer in answers]
