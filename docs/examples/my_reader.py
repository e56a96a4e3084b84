"""A reader of your own: `notus audit votes.jsonl --layout python:my_reader.py:read_row`."""


def read_row(row):
    if row["votes"] < 2:
        raise ValueError("fewer than two votes")  # the row goes to the quarantine, with this reason
    return {"prompt": row["q"], "chosen": row["good"], "rejected": row["bad"], "votes": row["votes"]}
