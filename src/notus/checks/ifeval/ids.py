"""The 25 kinds of IFEval by the ids that its prompts file uses (Zhou et al. 2023, https://arxiv.org/abs/2311.07911).

Owns the list alone, so that a wrong id is answered without importing any of them.
"""

__all__ = ["IFEVAL"]

_HERE = "notus.checks.ifeval"

IFEVAL = {
    f"{group}:{kind}": f"{_HERE}.{group}:{kind}"
    for group, kinds in {
        "change_case": ("capital_word_frequency", "english_capital", "english_lowercase"),
        "combination": ("repeat_prompt", "two_responses"),
        "detectable_content": ("number_placeholders", "postscript"),
        "detectable_format": (
            *("constrained_response", "json_format", "multiple_sections", "number_bullet_lists"),
            *("number_highlighted_sections", "title"),
        ),
        "keywords": ("existence", "forbidden_words", "frequency", "letter_frequency"),
        "language": ("response_language",),
        "length_constraints": (*("nth_paragraph_first_word", "number_paragraphs", "number_sentences", "number_words"),),
        "punctuation": ("no_comma",),
        "startend": ("end_checker", "quotation"),
    }.items()
    for kind in kinds
}
"""Id → the function that checks it."""
