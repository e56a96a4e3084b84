"""Further rows of many formats, hand-made: fuller than the samples, so that samples alone do not decide."""

from typing import Any

Row = dict[str, Any]


def said(*texts: str) -> list[Row]:
    """Turns of a user and an assistant in alternation."""
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]


ASKED, GOOD, POOR = said("Why do rivers bend?"), said("", "Slow water drops sand.")[1:], said("", "Because so.")[1:]
LONG = said("Hello there.", "Good day.", "Why do rivers bend?", "Slow water drops sand.")
OTHER = said("Hello there.", "Good day.", "Why do rivers bend?", "Because so.")
FLAT: Row = {
    "id": "r9",
    "instruction": "Why do rivers bend?",
    "response-1": "Slow water drops sand.",
    "response-2": "Because so.",
    "preference.responses": ["response-1", "response-2"],
    "preference.responses.users": ["user ann", "user bo"],
    "preference.responses.status": ["submitted", "draft"],
    "preference.suggestion": "response-1",
    "preference.suggestion.score": 0.75,
    "preference.suggestion.agent": "judge alder",
    "quality of response-1.responses": [4],
    "quality of response-1.responses.users": ["user ann"],
}
FURTHER: dict[str, list[Row]] = {
    "notus-feedback": [
        {
            "prompt": ASKED,
            "completions": [
                {
                    "text": "Sand settles.",
                    "ratings": [{"aspect": "honesty", "value": 4, "rater": "ann b", "types": []}],
                },
                {"text": "Because so.", "model": "birch", "critique": {"text": "Too short.", "score": 2}},
            ],
            "rankings": [{"ranks": [1, 2], "rater": "bo c", "rationale": "It says why."}],
        }
    ],
    "argilla-records": [
        FLAT,
        {
            "fields": {
                "prompt": "Why do rivers bend?",
                "response1": "Slow water drops sand.",
                "note": "from class six",
            },
            "responses": {
                "quality": [{"value": 3, "user_id": "ann b"}],
                "comment": [{"value": "well said", "user_id": "bo c"}],
            },
            "suggestions": {},
            "metadata": {"topic": "rivers and sand"},
        },
    ],
    "argilla1-records": [
        {
            "prompt": "Why do rivers bend?",
            "response1": "Slow water drops sand.",
            "response2": "Because so.",
            "quality-response1": [{"user_id": "ann b", "value": 5, "status": "submitted"}],
            "comment": [{"user_id": "bo c", "value": "well said", "status": "draft"}],
            "comment-suggestion": "fine by me",
            "comment-suggestion-metadata": {"agent": "judge alder", "score": 0.5},
            "metadata": {"model1": "birch", "topic": "rivers and sand"},
        }
    ],
    "label-studio": [
        {
            "id": 2,
            "data": {
                "question": "Why do rivers bend?",
                "text1": "Slow water drops sand.",
                "text2": "Because so.",
                "model1": "alder",
            },
            "annotations": [
                {
                    "completed_by": {"id": 3, "email": "ann@example.org"},
                    "result": [
                        {"from_name": "grade", "to_name": "text1", "type": "rating", "value": {"rating": 4}},
                        {
                            "from_name": "side",
                            "to_name": "text1,text2",
                            "type": "pairwise",
                            "value": {"selected": "right"},
                        },
                        {
                            "from_name": "reason",
                            "to_name": "text1",
                            "type": "textarea",
                            "value": {"text": ["It is short."]},
                        },
                    ],
                },
                {"completed_by": 4, "was_cancelled": True, "result": []},
            ],
        }
    ],
    "label-studio-min": [
        {
            "question": "Why do rivers bend?",
            "text1": "Slow water drops sand.",
            "text2": "Because so.",
            "side": [{"selected": "right"}],
            "reason": "It is short.",
            "annotator": {"id": 3, "email": "ann@example.org"},
            "annotation_id": 8,
            "lead_time": 3.5,
        }
    ],
    "arena": [
        {
            "model_a": "alder",
            "model_b": "birch",
            "winner": "tie (bothbad)",
            "judge_hash": "judge 7f",
            "conversation_a": LONG,
            "conversation_b": OTHER,
            "language": "English as spoken",
            "toxicity": {"openai": {"flagged": False, "note": "none at all"}},
        }
    ],
    "arena-kaggle": [
        {
            "id": 2,
            "model_a": "alder",
            "model_b": "birch",
            "prompt": '["Hello there.", "Why do rivers bend?"]',
            "response_a": '["Good day.", "Slow water drops sand."]',
            "response_b": '["Good day.", "Because so."]',
            "winner_model_a": 0,
            "winner_model_b": 0,
            "winner_tie": 1,
        }
    ],
    "webgpt": [
        {
            "question": {"full_text": "Why do rivers bend?", "dataset": "eli5", "id": "question 4"},
            "quotes_0": {"title": ["On sand"], "extract": ["Slow water drops sand it carries."]},
            "answer_0": "Slow water drops sand.",
            "answer_1": "Because so.",
            "score_0": -0.5,
            "score_1": 0.5,
        }
    ],
    "multipref": [
        {
            "text": "Why do rivers bend?",
            "model_a": "alder",
            "completion_a": "Slow water drops sand.",
            "model_b": "birch",
            "completion_b": "Because so.",
            "normal_worker_annotations": [
                {
                    "evaluator": "worker one",
                    "overall_pref": "B-is-slightly-better",
                    "overall_own_reason": "It is short.",
                },
                {"evaluator": "worker two", "truthful_pref": "A-is-clearly-better", "time_spent": 30},
            ],
            "expert_worker_annotations": [{"evaluator": "expert one", "overall_pref": "Tie"}],
        }
    ],
    "votes": [
        {
            "prompt": "Why do rivers bend?",
            "response_1": "Slow water drops sand.",
            "response_2": "Because so.",
            "model_1": "alder",
            "model_2": "birch",
            "preferred": 2,
            "annotator": "ann b",
            "reason": "It is short.",
            "system": "Be brief please.",
        }
    ],
    "helpsteer-preference": [
        {
            "prompt": "Why do rivers bend?",
            "response_1": "Slow water drops sand.",
            "response_2": "Because so.",
            "preference_strength": 3,
            "preference_statement": "The second is short.",
            "preference_elaboration": "Nobody asked for more.",
            "split": "first half",
        }
    ],
    "helpsteer3": [
        {
            "context": LONG[:3],
            "response1": "Slow water drops sand.",
            "response2": "Because so.",
            "overall_preference": 1,
            "individual_preference": [
                {"score": 2, "reasoning": "The second is short.", "feedback1": "Too long.", "feedback2": "Well said."},
                {"score": 0, "reasoning": "Both are fine.", "feedback1": "All right.", "feedback2": ""},
            ],
        }
    ],
    "judgebench": [
        {
            "pair_id": "p 2",
            "question": "Why do rivers bend?",
            "response_model": "alder",
            "response_A": "Slow water drops sand.",
            "response_B": "Because so.",
            "label": "A>B",
            "judge_name": "judge birch",
            "judgments": [
                {"judgment": {"response": "The first says why."}, "decision": "A>B"},
                {"judgment": {"response": "Now the first is short."}, "decision": "A>B"},
            ],
        }
    ],
    "wildbench": [
        {
            "session_id": "s 2",
            "conversation_input": LONG[:3],
            "generator": "alder",
            "model_output": "Slow water drops sand.",
            "parsed_result": {"strengths": "It says why.", "weaknesses": "", "score": 7},
            "eval_config": {"gpt": "judge birch"},
        }
    ],
    "nectar": [
        {
            "prompt": "\n\nHuman: Hello there.\n\nAssistant: Good day.\n\nHuman: Why do rivers bend?\n\nAssistant: ",
            "answers": [
                {"answer": "Because so.", "model": "birch", "rank": 2, "note": "no reason given"},
                {"answer": "Slow water drops sand.", "model": "alder", "rank": 1},
            ],
        }
    ],
    "ranked": [
        {
            "question": LONG[:3],
            "responses": [
                {"text": "Slow water drops sand.", "rank": 0, "score": 0.5},
                {"text": "Because so.", "rank": None},
                {"text": "Ask a farmer.", "rank": 1, "score": "0.25"},
            ],
        }
    ],
    "distilabel": [
        {
            "system_prompt": "Be brief please.",
            "instruction": "Why do rivers bend?",
            "generations": ["Slow water drops sand.", None, "Because so."],
            "ratings": [5, None, 2],
            "rationales": ["It says why.", None, "It does not."],
            "types": [["1", "2"], None, ["3"]],
            "rationales-for-ratings": ["Right.", None, "Too short."],
            "ultrafeedback_model": "judge birch",
        }
    ],
    "scored-answers": [
        {
            "prompt": "Why do rivers bend?",
            "completions": [
                {"text": "Slow water drops sand.", "scores": {"helpful": 4, "honest": "5"}, "judge": "judge birch"},
                {"text": "Because so.", "scores": {"helpful": None, "honest": 2}, "reason": "It is short."},
            ],
        }
    ],
    "feedback": [
        {
            "instruction": "Why do rivers bend?",
            "completions": [
                {
                    "model": "alder",
                    "response": "Slow water drops sand.",
                    "gpt4_scores": [4, "N/A"],
                    "gpt4_feedback": ["It says why.", "I cannot say."],
                    "annotators": ["judge one", "judge two"],
                }
            ],
        }
    ],
    "ratings": [
        {
            "prompt": "Why do rivers bend?",
            "response": "Slow water drops sand.",
            "rating": 4,
            "score": None,
            "annotator": "ann b",
            "reason": "It says why.",
            "system": "Be brief please.",
        }
    ],
    "ultrafeedback": [
        {
            "instruction": "Why do rivers bend?",
            "completions": [
                {
                    "model": "alder",
                    "response": "Slow water drops sand.",
                    "annotations": {
                        "helpfulness": {
                            "Rating": "4",
                            "Rationale": "It helps.",
                            "Type": ["1"],
                            "Rationale For Rating": "Clear enough.",
                        },
                        "honesty": {"Rating": "N/A", "Rationale": "Nothing to say."},
                        "truthfulness": {"Rating": 3, "Rationale": "So it seems.", "Type": "None"},
                    },
                    "critique": "Say more.",
                    "overall_score": "7.5",
                },
                {
                    "model": "birch",
                    "response": "Because so.",
                    "annotations": {"honesty": {"Rating": "1", "Rationale": "It dodges."}},
                },
            ],
        }
    ],
    "helpsteer": [
        {
            "prompt": "Why do rivers bend?",
            "response": "Slow water drops sand.",
            "helpfulness": [4, 3],
            "correctness": [4, None],
            "coherence": 3.5,
            "split": "first half",
        }
    ],
    "helpsteer3-feedback": [
        {
            "context": LONG[:3],
            "response": "Slow water drops sand.",
            "feedback": "It says why.",
            "domain": "stem and more",
        }
    ],
    "oasst-trees": [
        {
            "message_tree_id": "tree 2",
            "prompt": {
                "text": "Why do rivers bend?",
                "role": "prompter",
                "labels": {"spam": {"value": 0.0, "count": 2}},
                "replies": [
                    {
                        "text": "Slow water drops sand.",
                        "role": "assistant",
                        "rank": 0,
                        "model_name": "alder",
                        "replies": [
                            {
                                "text": "And why so slow?",
                                "role": "prompter",
                                "replies": [
                                    {"text": "The inside is shallow.", "role": "assistant", "rank": 1, "replies": []},
                                    {"text": "Ask the water.", "role": "assistant", "rank": 0, "replies": []},
                                ],
                            }
                        ],
                    },
                    {"text": "Because so.", "role": "assistant", "rank": 1, "replies": []},
                ],
            },
        }
    ],
    "h4": [
        {
            "prompt": "Hello there.",
            "prompt_id": "id of hello",
            "chosen": LONG,
            "rejected": OTHER,
            "messages": LONG[:2],
            "score_chosen": 8.5,
            "score_rejected": 3,
        }
    ],
    "trl": [
        {
            "prompt": LONG[:3],
            "chosen": GOOD,
            "rejected": [POOR[0] | {"weight": 0, "said by": "a child"}],
            "chosen_score": "7",
            "rejected_score": 2,
            "model_chosen": "alder",
            "margin": 5,
        }
    ],
    "trl-implicit": [
        {
            "chosen": LONG,
            "rejected": OTHER,
            "metadata": {"score_chosen": 5, "score_rejected": 1, "origin": "class six"},
        },
        {
            "chosen": "Why do rivers bend?\nAssistant: Slow water.",
            "rejected": "Why do rivers bend?\nAssistant: Because.",
        },
    ],
    "pairs": [
        {
            "instruction": "Why do they bend?",
            "input": "Of the Oder.",
            "chosen": "Slow water drops sand.",
            "rejected": "Because so.",
        },
        {
            "prompt": "Why do rivers bend?",
            "chosen": ASKED + GOOD,
            "rejected": ASKED + POOR,
            "chosen_rating": 5,
            "rejected_rating": "N/A",
        },
    ],
    "trl-unpaired": [{"prompt": LONG[:3], "completion": POOR, "label": False, "score": "0.5", "model": "birch"}],
    "messages-pairs": [
        {"messages": LONG, "chosen": GOOD, "rejected": POOR, "system": "Be brief please.", "note": "class six"}
    ],
    "openai-preference": [
        {
            "input": {"messages": LONG[:3], "metadata": {"topic": "rivers and sand"}},
            "preferred_output": GOOD,
            "non_preferred_output": POOR,
        }
    ],
    "distilabel-orca": [
        {
            "system": "",
            "input": "Why do rivers bend?",
            "chosen": "Slow water drops sand.",
            "rejected": "Because so.",
            "generations": ["Slow water drops sand.", "Because so."],
            "rating": [7, "6"],
            "status": "tie",
            "original_chosen": "Ask a farmer.",
        }
    ],
    "snorkel-pairs": [
        {
            "prompt": "Why do rivers bend?",
            "chosen": ASKED + GOOD,
            "rejected": ASKED + POOR,
            "all_generated_responses": ["Because so.", "Slow water drops sand."],
            "all_rm_scores": [-3, 2.5],
        }
    ],
    "hh": [
        {
            "chosen": "\n\nHuman: Hello there.\n\nAssistant: Good day.\n\nHuman: Why bend?\n\nAssistant: Slow water.",
            "rejected": "\n\nHuman: Hello there.\n\nAssistant: Good day.\n\nHuman: Why bend?\n\nAssistant: ",
        },
        {"prompt": "\n\nHuman: Why bend?\n\nAssistant:", "chosen": " Slow water.", "rejected": " Because so."},
    ],
    "sharegpt-pairs": [
        {
            "system": "Be brief please.",
            "conversations": [{"from": "human", "value": "Why do rivers bend?"}],
            "chosen": "Slow water drops sand.",
            "rejected": "Because so.",
            "source": "class six",
        }
    ],
    "alpaca-kto": [
        {
            "instruction": "Why do rivers bend?",
            "output": "Because so.",
            "label": "false",
            "history": [["Hello there.", "Good day."]],
        }
    ],
    "messages-score": [
        {"messages": LONG, "rating": 4, "reward": "0.5", "judge": "judge birch", "system": "Be brief please."}
    ],
    "messages-kto": [{"messages": OTHER, "label": 0, "score": 1.5, "model": "birch"}],
    "messages-rejected": [{"messages": LONG, "rejected_messages": OTHER, "source": "class six"}],
    "conversation-kto": [
        {
            "conversation": [{"input": "Hello there.", "output": "Good day."}, {"input": "Why bend?", "output": "So."}],
            "label": False,
        }
    ],
    "prompt-completion": [{"prompt": LONG[:3], "completion": GOOD, "source": "class six", "tags": ["rivers and sand"]}],
    "ultrachat": [{"messages": LONG, "prompt": "Hello there.", "prompt_id": "id of hello", "source": "class six"}],
    "sharegpt": [
        {
            "system": "Be brief please.",
            "conversations": [{"from": "human", "value": "Why bend?"}, {"from": "gpt", "value": "Sand."}],
            "id": "x 9",
        }
    ],
}
