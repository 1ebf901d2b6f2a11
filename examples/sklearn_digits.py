"""Search AdamW's weight decay for scikit-learn's MLPClassifier: python examples/sklearn_digits.py [--steps N].

Only the import and two arguments differ from a script for scikit-learn's own classifier.
"""

import argparse
import warnings

from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr.interop.sklearn import MLPClassifier

BATCH = 128


def main():
    """Search, print the scores, and check the accuracy on the held-out images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600, help="updates of each training (default: %(default)s)")
    steps = parser.parse_args().steps
    warnings.simplefilter("ignore", ConvergenceWarning)  # the schedule says when to stop, not the loss

    images, labels = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(images, labels, stratify=labels, random_state=0)
    epoch = len(x) * 2 // 3 // BATCH + 1  # updates, with two thirds of the images in each training of the search
    rate = S.OneCycle(0.01, steps=steps)
    decays = [{"lr": rate, "weight_decay": decay} for decay in (0.0, 0.1, 1.0)]
    network = MLPClassifier(
        (64,), alpha=0, batch_size=BATCH, max_iter=max(1, steps // epoch), tol=0, random_state=0,
        optimizer=flr.AdamW, optimizer_args=decays[0],
    )  # fmt: skip
    search = GridSearchCV(
        make_pipeline(StandardScaler(), network), {"mlpclassifier__optimizer_args": decays}, cv=3
    ).fit(x, y)
    for given, score in zip(decays, search.cv_results_["mean_test_score"], strict=True):
        print(f"weight decay {given['weight_decay']:.1f}: accuracy {score:.4f} in the cross-validation")

    reached = search.score(x_test, y_test)
    print(f"accuracy on {len(y_test)} held-out images: {reached:.4f} (expected: at least 0.95)")
    if reached < 0.95:
        raise SystemExit("the accuracy is too low")


if __name__ == "__main__":
    main()
