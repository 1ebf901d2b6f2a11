"""spaCy with our optimizers, found by their names in a config. The example spacy_textcat trains from a file."""

import copy
import os
import subprocess
import sys
from importlib.metadata import entry_points

import numpy as np
import pytest

pytest.importorskip("spacy", reason="spaCy is not installed: it has its own environment, see constraints-spacy.txt")

import spacy
from spacy.schemas import ConfigSchemaTraining
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from thinc.api import Config

from pyfastlr.interop import thinc as adapter
from pyfastlr.optimizers import registry

SENTENCES = [("stir the soup", "food"), ("taste the bread", "food"), ("bake it slowly", "food"),
             ("watch the comet", "space"), ("count the stars", "space"), ("launch it slowly", "space")] * 8  # fmt: skip
CONFIG = """
[nlp]
lang = "en"
pipeline = ["textcat"]
[components]
[components.textcat]
factory = "textcat"
[components.textcat.model]
@architectures = "spacy.TextCatBOW.v3"
exclusive_classes = true
ngram_size = 1
no_output_layer = false
length = 1024
[corpora]
[corpora.train]
@readers = "pyfastlr_test.sentences.v1"
[corpora.dev]
@readers = "pyfastlr_test.sentences.v1"
[training]
train_corpus = "corpora.train"
dev_corpus = "corpora.dev"
seed = 0
max_steps = 20
eval_frequency = 10
[training.batcher]
@batchers = "spacy.batch_by_sequence.v1"
size = 16
"""


@spacy.registry.readers("pyfastlr_test.sentences.v1")
def reader():
    def read(nlp):
        for text, label in SENTENCES:
            yield Example.from_dict(nlp.make_doc(text), {"cats": {x: float(x == label) for x in ("food", "space")}})

    return read


def filled(**optimizer):
    config = Config().from_str(CONFIG)
    config["training"]["optimizer"] = optimizer
    return spacy.util.load_model_from_config(config, auto_fill=True).config


def trained(**optimizer):
    nlp = init_nlp(filled(**optimizer))
    train(nlp, stdout=sys.stdout, stderr=sys.stderr)
    return nlp


def weights(nlp):
    return [node.get_param(x) for node in nlp.get_pipe("textcat").model.walk() for x in node.param_names]


SPACYS_OWN = {"beta1": 0.9, "beta2": 0.999, "L2": 0.01, "L2_is_weight_decay": True, "grad_clip": 1.0, "eps": 1e-8,
              "use_averages": False, "learn_rate": 0.01}  # fmt: skip


def test_a_config_of_spacy_with_another_name_trains_alike(capsys):
    """The whole change to a config is one word. The weights are thinc's, but for the order of the weight decay."""
    theirs, ours = (trained(**{"@optimizers": f"{name}Adam.v1"}, **SPACYS_OWN) for name in ("", "pyfastlr."))
    assert "Initial learn rate: 0.01" in capsys.readouterr().out
    for a, b in zip(weights(theirs), weights(ours), strict=True):
        np.testing.assert_allclose(a, b, atol=5e-5)
    assert ours.evaluate(list(reader()(ours)))["cats_score"] == 1.0


@pytest.mark.parametrize("cls", registry, ids=lambda cls: cls.__name__)
def test_every_optimizer_passes_spacys_schema(cls):
    rate = {"@schedules": "pyfastlr.Constant.v1", "lr": 0.01}
    given = {"@optimizers": f"pyfastlr.{cls.__name__}.v1", "learn_rate": 0.01 if cls.__name__ == "Rprop" else rate}
    config = filled(**given)
    resolved = spacy.registry.resolve(config["training"], schema=ConfigSchemaTraining)
    assert type(resolved["optimizer"]) is getattr(adapter, cls.__name__)
    again = Config().from_str(config.to_str())  # what a saved pipeline has
    assert spacy.registry.resolve(again["training"], schema=ConfigSchemaTraining)["optimizer"]


def test_schedules_and_averages(tmp_path):
    rate = {"@schedules": "pyfastlr.Warmup.v1", "steps": 5,
            "schedule": {"@schedules": "pyfastlr.Linear.v1", "start": 0.05, "end": 0.0, "steps": 15}}  # fmt: skip
    nlp = trained(**{"@optimizers": "pyfastlr.NAdam.v1", "learn_rate": rate})
    nlp.to_disk(tmp_path / "model")
    loaded = spacy.load(tmp_path / "model")
    assert loaded.config["training"]["optimizer"]["@optimizers"] == "pyfastlr.NAdam.v1"
    assert loaded("stir the bread").cats == nlp("stir the bread").cats
    assert loaded("stir the bread").cats["food"] > 0.5


def test_updates_of_nlp():
    nlp = spacy.blank("en")
    nlp.add_pipe("textcat")
    examples = list(reader()(nlp))
    opt = adapter.Adam(0.01)
    assert nlp.initialize(lambda: examples, sgd=opt) is opt
    losses = []
    for _ in range(15):
        losses.append(nlp.update(examples, sgd=opt, losses={})["textcat"])
        opt.step_schedules()
    assert losses[-1] < 0.5 * losses[0]
    assert all(x.steps == 15 for x in opt.by_key.values())
    with nlp.use_params(opt.averages):
        inside = copy.deepcopy(weights(nlp))
    assert any(not np.array_equal(a, b) for a, b in zip(inside, weights(nlp), strict=True))


INSTALLED = {x.name for x in entry_points(group="thinc_optimizers")}


@pytest.mark.skipif("pyfastlr.Adam.v1" not in INSTALLED, reason="pyfastlr is not installed, only imported")
def test_names_are_found_without_an_import():
    program = (
        "import spacy\n"
        "rate = {'@schedules': 'pyfastlr.Cosine.v1', 'lr': 0.1, 'steps': 5}\n"
        "made = spacy.registry.resolve({'x': {'@optimizers': 'pyfastlr.Adam.v1', 'learn_rate': rate}})['x']\n"
        "print(type(made).__module__)"
    )
    environment = {x: value for x, value in os.environ.items() if x != "PYTHONPATH"}
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert printed.stdout.strip() == adapter.__name__, printed.stderr
