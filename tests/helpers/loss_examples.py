"""What the tests of the losses share: the equations by hand, in plain Python, and pairs made from lists."""

import math
from dataclasses import replace

import torch

from notus.train.losses.base import Loss, PairLoss, UnpairedLoss
from notus.train.losses.inputs import LogpSums, PairLogps
from notus.train.losses.registry import class_of, losses_of

CONFIGS = {name: class_of(name) for name in losses_of(Loss)}
PAIRED, UNPAIRED = losses_of(PairLoss), losses_of(UnpairedLoss)


def compute(name, inputs, **options):
    """The values of a loss with these options, their limits aside."""
    return CONFIGS[name].model_construct(**options).losses(inputs)


def softplus(x):
    """−log σ(−x), without overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def minus_log_sigmoid(x):
    return softplus(-x)


def s(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


class Hand:
    """The equations for one pair, in plain Python floats. w: chosen, l: rejected, t: tokens, q: common prefix."""

    def __init__(self, pw, pl, rw, rl, tw=7, tl=4, qw=0.0, ql=0.0, scores=0.0, shift=0.0):
        self.w, self.l = pw - rw, pl - rl
        self.pw, self.pl, self.tw, self.tl, self.qw, self.ql = pw, pl, tw, tl, qw, ql
        self.scores, self.shift = scores, shift

    def h(self, beta):
        return beta * (self.w - self.l)

    def sigmoid(self, beta):
        return minus_log_sigmoid(self.h(beta))

    def cdpo(self, beta, label_smoothing):
        h = self.h(beta)
        return (1 - label_smoothing) * minus_log_sigmoid(h) + label_smoothing * minus_log_sigmoid(-h)

    def robust(self, beta, label_smoothing):
        h = self.h(beta)
        return ((1 - label_smoothing) * minus_log_sigmoid(h) - label_smoothing * minus_log_sigmoid(-h)) / (
            1 - 2 * label_smoothing
        )

    def hinge(self, beta):
        return max(0.0, 1 - self.h(beta))

    def ipo_sum(self, beta):
        return (self.w - self.l - 1 / (2 * beta)) ** 2

    def ipo_mean(self, beta):
        return (self.w / self.tw - self.l / self.tl - 1 / (2 * beta)) ** 2

    def exo(self, beta, label_smoothing):
        p, q = s(self.h(beta)), 1 - label_smoothing
        return sum(a * math.log(a / b) for a, b in ((p, q), (1 - p, 1 - q)) if a > 0)

    def nca(self, beta):
        return (
            minus_log_sigmoid(beta * self.w)
            + minus_log_sigmoid(-beta * self.w) / 2
            + minus_log_sigmoid(-beta * self.l) / 2
        )

    def bco(self, beta, shifted):
        delta = beta * self.shift * shifted
        return minus_log_sigmoid(beta * self.w - delta) + minus_log_sigmoid(-(beta * self.l - delta))

    def sppo_hard(self, beta):
        eta = 1 / beta
        return (self.w - eta * (1 - 0.5)) ** 2 + (self.l - eta * (0 - 0.5)) ** 2

    def apo_zero(self, beta):
        return 1 - s(beta * self.w) + s(beta * self.l)

    def apo_down(self, beta):
        return s(beta * self.w) + 1 - s(self.h(beta))

    def discopop(self, beta, tau):
        m = s(self.h(beta) / tau)
        return (1 - m) * minus_log_sigmoid(self.h(beta)) + m * math.exp(-self.h(beta))

    def aot(self, beta, label_smoothing):
        """Of an update of one pair: it is set against itself."""
        return self.cdpo(beta, label_smoothing)

    aot_unpaired = aot

    def sigmoid_norm(self, beta):
        return minus_log_sigmoid(beta * self.w / self.tw - beta * self.l / self.tl)

    def simpo(self, beta, gamma):
        return minus_log_sigmoid(beta / self.tw * self.pw - beta / self.tl * self.pl - gamma)

    def nll(self, mean_over="pairs"):
        """Of an update of one pair, over which both means are the same."""
        assert mean_over in ("pairs", "tokens")
        return -self.pw / self.tw

    def orpo(self, odds_weight):
        odds = [p / (1 - p) for p in (math.exp(self.pw / self.tw), math.exp(self.pl / self.tl))]
        return self.nll() - odds_weight * math.log(s(math.log(odds[0] / odds[1])))

    def rpo(self, beta, nll_weight):
        return self.sigmoid(beta) + nll_weight * self.nll()

    def ld_dpo(self, beta, tail_weight):
        w, l = self.qw + tail_weight * (self.w - self.qw), self.ql + tail_weight * (self.l - self.ql)  # noqa: E741
        return minus_log_sigmoid(beta * w - beta * l)

    def r_dpo(self, beta, length_penalty):
        return minus_log_sigmoid(self.h(beta) + length_penalty * self.tw - length_penalty * self.tl)

    def dpop(self, beta, penalty):
        return minus_log_sigmoid(beta * (self.w - self.l - penalty * max(0.0, -self.w)))

    def margin(self, beta, scale):
        return minus_log_sigmoid(self.h(beta) - scale * self.scores)


def tensor(values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


def pairs_of(pw, pl, rw, rl, *, dtype=torch.float64, tokens=(7, 4), prefix=0.5, scores=1.5, shift=0.0):
    """Pairs from lists. The sums over the common length are a share of the whole of the chosen, longer answer."""
    sums = [tensor(values, dtype) for values in (pw, pl, rw, rl)]
    n = len(pw)
    return PairLogps(
        *sums,
        chosen_tokens=tensor([tokens[0]] * n, dtype),
        rejected_tokens=tensor([tokens[1]] * n, dtype),
        prefix=LogpSums(prefix * sums[0], sums[1], prefix * sums[2], sums[3]),
        score_margins=tensor([scores] * n, dtype),
        shift=shift,
    )


def margins(h, beta=1.0):
    """One pair for each margin, with the log-ratios ±h/(2β)."""
    half = [value / (2 * beta) for value in h]
    zeros = [0.0] * len(h)
    return pairs_of(half, [-value for value in half], zeros, zeros)


def swapped(pairs):
    return replace(
        pairs,
        policy_chosen=pairs.policy_rejected,
        policy_rejected=pairs.policy_chosen,
        reference_chosen=pairs.reference_rejected,
        reference_rejected=pairs.reference_chosen,
        chosen_tokens=pairs.rejected_tokens,
        rejected_tokens=pairs.chosen_tokens,
    )
