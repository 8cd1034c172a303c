"""The demo's experiment: one classifier on scikit-learn's handwritten digits, with checkpoints."""

# ruff: noqa: INP001 - a workspace, not a package
from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier


def main() -> int:
    """Train, print one JSON line for each epoch, and keep the result in ``modeldir``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--fail-once", action="store_true")
    options = parser.parse_args()
    # What lies here is stored when the run ends, and is here again in the next attempt.
    kept = Path("..") / "modeldir"
    kept.mkdir(exist_ok=True)
    if options.fail_once and not (kept / "tried").exists():
        (kept / "tried").write_text("once\n")
        sys.stdout.write("failing on purpose; the next attempt will find modeldir/tried\n")
        return 1
    accuracy = train(options.hidden, options.rate, options.epochs)
    (kept / "result.json").write_text(json.dumps({"accuracy": accuracy}))
    return 0


def train(hidden: int, rate: float, epochs: int) -> float:
    """Return the accuracy on digits that the model has not seen."""
    digits = load_digits()
    known, unseen, labels, truth = train_test_split(
        digits.data / 16.0, digits.target, test_size=0.3, random_state=0
    )
    model = MLPClassifier((hidden,), learning_rate_init=rate, random_state=0)
    accuracy = 0.0
    for epoch in range(1, epochs + 1):
        model.partial_fit(known, labels, classes=range(10))
        accuracy = float(model.score(unseen, truth))
        line = {"epoch": epoch, "loss": round(model.loss_, 4), "accuracy": round(accuracy, 4)}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        time.sleep(0.1)  # so that there is something to watch
    return accuracy


if __name__ == "__main__":
    raise SystemExit(main())
