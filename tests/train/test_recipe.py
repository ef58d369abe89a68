"""Recipes: the course of their learning rate, and what they refuse."""

import dataclasses
import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch

from netmorph.errors import NetmorphError
from netmorph.train.optimizers import OPTIMIZERS, build_optimizer
from netmorph.train.recipe import Recipe
from netmorph.train.schedules import image_scale_at, learning_rate_at, steps_per_epoch


def test_schedules():
    def rates(**options):
        recipe = Recipe(learning_rate=1.0, **options)
        return [learning_rate_at(recipe, progress) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]

    assert rates(schedule="constant") == [1, 1, 1, 1, 1]
    assert rates(schedule="linear") == [1, 0.75, 0.5, 0.25, 0]
    assert rates(schedule="cosine") == pytest.approx([1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0])
    assert rates(schedule="step") == pytest.approx([1, 1, 0.1, 0.01, 0.01])
    assert rates(schedule="linear", warmup=0.5) == [0, 0.5, 1, 0.5, 0]
    assert rates(schedule="stable") == pytest.approx([1, 1, 1, 1, 0])
    assert rates(schedule="stable", warmup=0.5, decay_share=0.5) == [0, 0.5, 1, 0.5, 0]
    assert rates(schedule="stable", decay_share=1) == rates(schedule="linear")


@pytest.mark.parametrize(
    ("images", "batch_size", "processes", "steps"),
    [(64, 16, 1, 4), (66, 16, 1, 5), (65, 16, 1, 4), (67, 16, 2, 4), (68, 16, 2, 5), (1, 16, 1, 1)],
)
def test_a_last_batch_of_one_image_a_process_is_no_step(images, batch_size, processes, steps):
    assert steps_per_epoch(images, batch_size, processes) == steps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adamW"}, "did you mean 'adamw'.*sgd, adam, adamw"),
        ({"optimizer": "nothing-like-it"}, "unknown optimizer.*known are"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"decay_share": 0}, "decay_share must be a share of the run, above 0 and up to 1;"),
        ({"schedule": "stable", "warmup": 0.9}, "decay_share must be .* up to 0.1; 0.2 was given"),
        ({"epochs": 2.5}, "epochs must be a whole number; 2.5"),
        ({"batch_size": 32.0}, "batch_size must be a whole number"),
        ({"epochs": 0}, "epochs must be at least 1; 0"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"momentum": 1.0}, "momentum"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"warmup": 1.0}, "warmup"),
        ({"pad": -1}, "pad"),
        ({"reflect": True}, "reflect must be used with a pad above 0"),
        ({"views": 3}, "views must be one of 1, 2, 6; 3"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"patience": 0}, "patience"),
        ({"mixup": -0.1}, "mixup must be 0 or more"),
        ({"cutmix": math.inf}, "cutmix must be 0 or more"),
        ({"class_weights": (1.0, -1.0)}, "class_weights must be 0 or more each"),
        ({"class_weights": (0.0, 0.0)}, "one of them above 0"),
        ({"accumulate": 0}, "accumulate must be from 1 to the batch size; 0"),
        ({"accumulate": 65}, "accumulate"),
        ({"ema": 1.0}, "ema must be between 0 and 1"),
    ],
)
def test_a_recipe_is_checked(options, message):
    with pytest.raises(NetmorphError, match=message):
        Recipe(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip_norm": math.inf}, "clip_norm must be a finite number above 0, or None; inf"),
        ({"learning_rate": "1e-3"}, "learning_rate must be a number; '1e-3'"),
        ({"learning_rate": None}, "learning_rate must be a number; None"),
        ({"class_weights": 2.0}, "class_weights must be numbers, one a class; 2.0"),
        ({"optimizer": None}, "optimizer must be a name; None"),
        ({"epochs": torch.tensor([1, 2])}, "epochs must be a whole number"),
        ({"epochs": 1.5}, "epochs must be a whole number; 1.5"),
        ({"flip": torch.zeros(2)}, "flip must be True or False"),
        ({"learning_rate": 10**400}, "learning_rate must be a number"),
        ({"batch_size": "64"}, "batch_size must be a whole number; '64'"),
    ],
)
def test_values_of_other_types_are_refused(options, message):
    with pytest.raises(NetmorphError, match=message):
        Recipe(**options)


def test_values_are_plain_whatever_library_made_them():
    given = Recipe(
        epochs=np.int64(3), learning_rate=np.float32(0.5), class_weights=torch.tensor([1.0, 2.0]), ema=torch.tensor(0.5)
    )
    assert given == Recipe(epochs=3, learning_rate=0.5, class_weights=(1.0, 2.0), ema=0.5)
    assert Recipe(**json.loads(json.dumps(asdict(given)))) == given


@pytest.mark.parametrize(
    ("epochs", "scales"), [(1, [1]), (2, [0.5, 1]), (3, [0.5, 0.75, 1]), (4, [0.5, 2 / 3, 5 / 6, 1])]
)
def test_images_grow_to_their_size(epochs, scales):
    recipe = Recipe(epochs=epochs, first_size=0.5)
    assert [image_scale_at(recipe, epoch) for epoch in range(1, epochs + 1)] == pytest.approx(scales)


def test_each_optimizer_has_a_weight_decay_of_its_own_where_none_is_given():
    model = torch.nn.Linear(2, 2)
    usual = {
        name: build_optimizer(model, Recipe(optimizer=name)).param_groups[0]["weight_decay"] for name in OPTIMIZERS
    }
    assert usual == {"sgd": 5e-4, "adam": 0.0, "adamw": 0.01, "muon": 0.01}
    assert build_optimizer(model, Recipe(optimizer="sgd", weight_decay=0.0)).param_groups[0]["weight_decay"] == 0.0
    assert dataclasses.replace(Recipe(), optimizer="sgd").decay == 5e-4
