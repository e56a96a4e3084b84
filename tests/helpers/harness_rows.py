"""Questions of our own in the formats of the hub's benchmarks, with all their columns, odd ones included."""

WORDS = ["sun", "moon", "river", "stone", "bread", "glass", "horse", "lamp"]
WORDS += ["winter", "garden", "copper", "thread", "ladder", "basket", "mirror", "button"]
NO_DATE = {"day": "", "month": "", "year": ""}


def hub_rows(task, count=30):
    """Rows as the hub's set has them; some have what is rare there: other labels, spans, a date."""
    for n in range(count):
        a, b, c, d = (WORDS[(n * step + step) % 16] for step in (1, 3, 5, 7))
        yield {
            "arc_challenge": _arc,
            "hellaswag": _hellaswag,
            "winogrande": _winogrande,
            "gsm8k": _gsm8k,
            "drop": _drop,
            "mmlu": _mmlu,
            "truthfulqa_mc2": _truthfulqa,
        }[task](n, a, b, c, d)


def _arc(n, a, b, c, d):
    labels = list("1234" if n % 4 == 1 else "ABCD")
    texts = [f"the {a}", f"a {b} of {c}", c, f"{d}s"]
    kept = 3 if n % 5 == 2 else 4
    choices = {"text": texts[:kept], "label": labels[:kept]}
    return {
        "id": f"own_{n}",
        "question": f"Which {a} is {b}, number {n}?",
        "choices": choices,
        "answerKey": labels[n % 3],
    }


def _hellaswag(n, a, b, c, d):
    ctx_a, ctx_b = f"[header] How to hold a {a} [title] Take the {b}. [step] A {c} holds {n} of", "" if n % 3 else "it"
    endings = [f"is a {c}.", f"was  a {d}. [substeps] Wait.", f"[x] has a {a}.", f"falls into the {b}."]
    return {
        "ind": n,
        "activity_label": f"Holding {a}s",
        "ctx_a": ctx_a,
        "ctx_b": ctx_b,
        "ctx": f"{ctx_a} {ctx_b}".strip(),
        "endings": endings,
        "source_id": f"own~{n}",
        "split": "val",
        "split_type": "indomain",
        "label": str(n % 4),
    }


def _winogrande(n, a, b, c, d):
    end = f"because the _ was {c}." if n % 2 else f"so the _ broke in the {d}."
    return {"sentence": f"The {a} hit the {b} {n} times, {end}", "option1": a, "option2": b, "answer": str(n % 2 + 1)}


def _gsm8k(n, a, b, c, d):
    total = 1000 * n + 2
    answer = f"There are 1000*{n}=<<1000*{n}={1000 * n}>>{1000 * n} {a}s.\nWith 2 {b}s in a {d} that is {total}."
    answer += f"\n#### {total:,}"
    return {"question": f"A {c} holds {n} thousand {a}s and 2 {b}s. How many are that?", "answer": answer}


def _drop(n, a, b, c, d):
    number, spans, date = str(n), [], NO_DATE
    if n % 3 == 1:
        number, spans = "", [a, f"the {b}"] if n % 2 else [a]
    elif n % 3 == 2:
        number, date = "", {"day": str(n % 28 + 1), "month": "May", "year": "1820"}
    further = {
        "number": [str(n + 1), ""],
        "date": [NO_DATE, NO_DATE],
        "spans": [[], [f"{n} {b}s"]],
        "worker_id": ["w1", "w2"],
        "hit_id": ["h1", "h2"],
    }
    return {
        "section_id": f"own_{n}",
        "query_id": f"q{n}",
        "passage": f"The {a} had {n} {b}s. In May 1820 the {c} came to the {d}.",
        "question": f"How many {b}s had the {a}?",
        "answer": {"number": number, "date": date, "spans": spans, "worker_id": "w0", "hit_id": "h0"},
        "validated_answers": further,
    }


def _mmlu(n, a, b, c, d):
    subject = "anatomy" if n % 2 else "virology"
    return {
        "split": "dev" if n < 12 else "test",
        "subject": subject,
        "question": f"Which {a}, number {n}?",
        "choices": [a, b, c, d],
        "answer": n % 4,
    }


def _truthfulqa(n, a, b, c, d):
    targets = {"choices": [f"No {a}.", f"Some {b} {d}.", f"Some {c}."], "labels": [1, 0, 0]}
    return {"question": f"Is {a} {n}?", "mc1_targets": targets, "mc2_targets": targets}
