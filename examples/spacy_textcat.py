"""Train a text classifier of spaCy from a config file: python examples/spacy_textcat.py [--steps N].

The script knows nothing of the optimizer: spaCy finds "pyfastlr.AdamW.v1" in spacy_textcat.cfg by its name.
"""

import argparse
import random
import sys
from pathlib import Path

try:
    import spacy
    from spacy.training import Example
    from spacy.training.initialize import init_nlp
    from spacy.training.loop import train
except ModuleNotFoundError:
    print('this example needs spaCy: pip install "pyfastlr[spacy]"', file=sys.stderr)
    raise SystemExit(2) from None

TOPICS = {
    "cooking": ["onion", "butter", "oven", "salt", "simmer", "recipe", "garlic", "dough", "pan", "spoon"],
    "space": ["orbit", "star", "probe", "lens", "galaxy", "launch", "crater", "comet", "signal", "telescope"],
}
COMMON = [
    "the",
    "a",
    "small",
    "large",
    "old",
    "we",
    "they",
    "saw",
    "put",
    "found",
    "near",
    "after",
    "before",
    "with",
    "and",
    "slowly",
]


def sentences(count, seed):
    """Return sentences of common words with two of one topic, each with its topic."""
    rng = random.Random(seed)
    found = []
    for k in range(count):
        topic = list(TOPICS)[k % len(TOPICS)]
        words = rng.choices(COMMON, k=8) + rng.choices(TOPICS[topic], k=2)
        rng.shuffle(words)
        found.append((" ".join(words), topic))
    return found


@spacy.registry.readers("pyfastlr_example.sentences.v1")
def reader(count: int, seed: int):
    """Return spaCy's reader of a corpus."""

    def read(nlp):
        for text, topic in sentences(count, seed):
            yield Example.from_dict(nlp.make_doc(text), {"cats": {x: float(x == topic) for x in TOPICS}})

    return read


def main():
    """Train as `spacy train` does, and check the accuracy on other sentences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60, help="updates (default: %(default)s)")
    steps = parser.parse_args().steps
    path = Path(__file__).with_name("spacy_textcat.cfg")
    config = spacy.util.load_config(path, overrides={"training.max_steps": steps})
    filled = spacy.util.load_model_from_config(config, auto_fill=True).config  # as `spacy init fill-config` does
    nlp = init_nlp(filled)
    train(nlp, stdout=sys.stdout, stderr=sys.stderr)

    unseen = sentences(200, seed=3)
    guesses = [max(doc.cats, key=doc.cats.get) for doc in nlp.pipe(text for text, _ in unseen)]
    reached = sum(a == b for a, (_, b) in zip(guesses, unseen, strict=True)) / len(unseen)
    print(f"accuracy on {len(unseen)} other sentences: {reached:.3f} (expected: at least 0.95)")
    if reached < 0.95:
        raise SystemExit("the accuracy is too low")


if __name__ == "__main__":
    main()
