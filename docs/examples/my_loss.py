"""A loss of your own, conservative DPO: `loss: "python:my_loss.py:softened"`, or `notus.dpo(…, loss=softened)`."""

from torch.nn.functional import logsigmoid


def softened(pairs, beta: float = 0.1, flipped: float = 0.1):
    margins = beta * pairs.ratio_gaps
    return -(1 - flipped) * logsigmoid(margins) - flipped * logsigmoid(-margins)
