"""A check of your own, named in a prompts file and allowed: `notus eval ifeval my_prompts.jsonl --model runs/dpo \
--own-check python:my_check.py:names_one_of`."""


def names_one_of(answer, *, names, at_least=1):
    found = [name for name in names if name.lower() in answer.lower()]
    return len(found) >= at_least
