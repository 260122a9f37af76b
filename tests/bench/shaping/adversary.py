"""Classifiers that tell our links from a browser's visits: trained on some sites, tested on others."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from tests.bench.shaping.features import Flow, features

FOLDS = 5
MODELS = ("forest", "boosting")


@dataclass
class Verdict:
    """How well one class is told from the other."""

    aucs: list[float] = field(default_factory=list)  # one a fold
    browser: list[float] = field(default_factory=list)  # scores of flows that were not trained on
    ours: list[float] = field(default_factory=list)

    @property
    def auc(self) -> float:
        return float(np.mean(self.aucs))

    @property
    def spread(self) -> float:
        return float(np.std(self.aucs))

    def caught(self, false_positives: float) -> float:
        """Return the share of ours above the score that so many of the browser's reach."""
        limit = float(np.quantile(self.browser, 1 - false_positives))
        return float(np.mean(np.array(self.ours) > limit))

    def several(self, flows: int, *, draws: int = 2000) -> "Verdict":
        """Return the verdict over so many flows of one pair of hosts, scores averaged."""
        rng = np.random.default_rng(1)
        browser = rng.choice(self.browser, (draws, flows)).mean(1)
        ours = rng.choice(self.ours, (draws, flows)).mean(1)
        auc = roc_auc_score([0] * draws + [1] * draws, np.r_[browser, ours])
        return Verdict([float(auc)], list(browser), list(ours))


def model(name: str, seed: int) -> RandomForestClassifier | HistGradientBoostingClassifier:
    """Make a classifier."""
    if name == "forest":
        return RandomForestClassifier(300, min_samples_leaf=2, random_state=seed, n_jobs=2)
    return HistGradientBoostingClassifier(
        max_iter=100, learning_rate=0.1, min_samples_leaf=8, random_state=seed
    )


def judge(
    browser: Sequence[Flow],
    ours: Sequence[Flow],
    *,
    name: str,
    has_times: bool = True,
    repeats: int = 2,
    count: int = 40,
) -> Verdict:
    """Train and test by site: no site is on both sides; as many of each class from every site.

    What is seen is the first `count` records.
    """
    verdict = Verdict()
    cache = {id(flow): features(flow, count, has_times=has_times) for flow in (*browser, *ours)}
    for repeat in range(repeats):
        rows, labels, sites = _balanced(browser, ours, random.Random(repeat))
        table = np.array([cache[id(flow)] for flow in rows])
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=repeat)
        for train, test in folds.split(table, labels, sites):
            if len(set(labels[test])) < 2:
                continue
            trained = model(name, repeat).fit(table[train], labels[train])
            scores = trained.predict_proba(table[test])[:, 1]
            verdict.aucs.append(float(roc_auc_score(labels[test], scores)))
            verdict.browser += list(scores[labels[test] == 0])
            verdict.ours += list(scores[labels[test] == 1])
    return verdict


def _balanced(
    browser: Sequence[Flow], ours: Sequence[Flow], rng: random.Random
) -> tuple[list[Flow], "np.ndarray[tuple[int], np.dtype[np.int64]]", list[int]]:
    rows: list[Flow] = []
    labels: list[int] = []
    for site in sorted({flow.site for flow in browser} & {flow.site for flow in ours}):
        classes = [[flow for flow in flows if flow.site == site] for flows in (browser, ours)]
        count = min(map(len, classes))
        for label, flows in enumerate(classes):
            rows += rng.sample(flows, count)
            labels += [label] * count
    return rows, np.array(labels), [flow.site for flow in rows]


def null_halves(flows: Sequence[Flow], seed: int = 5) -> tuple[list[Flow], list[Flow]]:
    """Part a browser's connections in two, site by site."""
    rng = random.Random(seed)
    first: list[Flow] = []
    second: list[Flow] = []
    for site in sorted({flow.site for flow in flows}):
        own = rng.sample([flow for flow in flows if flow.site == site], k=sum(f.site == site for f in flows))
        first += own[: len(own) // 2]
        second += own[len(own) // 2 :]
    return first, second


def telling(
    browser: Sequence[Flow], ours: Sequence[Flow], count: int = 8, *, records: int = 40
) -> list[tuple[str, float]]:
    """Return the features of so many records that alone tell most, as (name, AUC)."""
    names = feature_names()
    rows, labels, _ = _balanced(browser, ours, random.Random(0))
    table = np.array([features(flow, records) for flow in rows])
    found = []
    for at in range(table.shape[1]):
        auc = float(roc_auc_score(labels, table[:, at]))
        found.append((names[at] if at < len(names) else f"feature {at}", max(auc, 1 - auc)))
    return sorted(found, key=lambda item: -item[1])[:count]


def feature_names() -> list[str]:
    """The names of `features`, in order."""
    shape = [f"burst {at} {what}" for at in range(12) for what in ("octets", "records")]
    shape += ["bursts", "bursts a record", "records up", "records down", "octets up", "octets down"]
    shape += ["octets up to down", "records up to all"]
    for way in ("up", "down"):
        shape += [f"{way}: {what}" for what in ("distinct", "full", "below 60", "60 to 200", "500 to full")]
        shape += [f"{way}: size quantile {at}" for at in range(7)]
    times = [f"gap {at}" for at in range(39)] + ["first record"] + [f"gap quantile {at}" for at in range(9)]
    times += [f"gap {way} quantile {at}" for way in ("up", "down") for at in range(5)]
    times += [f"answer quantile {at}" for at in range(5)] + ["duration"]
    times += [f"octets {way} in window {at}" for at in range(6) for way in ("up", "down")]
    segments = [f"segment {at}" for at in range(20)]
    segments += [f"segment {way} quantile {at}" for way in ("up", "down") for at in range(5)]
    return [f"record {at}" for at in range(40)] + shape + times + segments
