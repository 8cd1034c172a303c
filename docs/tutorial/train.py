"""Learns to tell three species of iris apart: the experiment of docs/tutorial.md."""

# ruff: noqa: INP001 - a workspace, not a package
from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

import numpy as np

SPECIES = ("setosa", "versicolor", "virginica")


def main() -> int:
    """Train, print one JSON line for each report, and keep the model in ``modeldir``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--epochs", type=int, default=200)
    options = parser.parse_args()

    values, labels = flowers(Path("iris.csv"))
    unseen = np.arange(len(values)) % 3 == 0  # every third flower is kept for the examination
    weights = np.zeros((values.shape[1], len(SPECIES)))
    wanted = np.eye(len(SPECIES))[labels]
    kept = Path("..") / "modeldir"
    kept.mkdir(exist_ok=True)

    for epoch in range(1, options.epochs + 1):
        guesses = softmax(values[~unseen] @ weights)
        error = guesses - wanted[~unseen]
        weights -= options.rate * values[~unseen].T @ error / len(error)
        if epoch % 50 == 0:
            accuracy = float(np.mean((values[unseen] @ weights).argmax(axis=1) == labels[unseen]))
            # A line of output that is a JSON object becomes metadata of the experiment.
            sys.stdout.write(json.dumps({"epoch": epoch, "accuracy": round(accuracy, 3)}) + "\n")
            sys.stdout.flush()
            (kept / "weights.json").write_text(json.dumps(weights.tolist()))
    return 0


def flowers(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return a row of scaled measures for each flower, with a constant one, and its species."""
    with file.open(newline="") as stream:
        rows = list(csv.reader(stream))[1:]
    measures = np.array([[float(cell) for cell in row[:4]] for row in rows])
    scaled = (measures - measures.mean(axis=0)) / measures.std(axis=0)
    labels = np.array([SPECIES.index(row[4]) for row in rows])
    return np.hstack([scaled, np.ones((len(rows), 1))]), labels


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return for each flower how likely each species is."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return result


if __name__ == "__main__":
    raise SystemExit(main())
