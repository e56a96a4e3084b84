"""A judge's parser of your own, in the judge's settings: `parsers: {critique: "python:my_parser.py:read_stars"}`."""

import re


def read_stars(text):
    stars = re.match(r"([★☆]{5})\s+(.+)", text.strip(), re.S)
    return None if stars is None else (stars[2], 2 * stars[1].count("★"))
