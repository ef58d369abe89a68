"""A CNN tutorial's table: LeNet-5, MiniVGGNet and a small ResNet on MNIST and CIFAR-10."""

from dataclasses import replace

from netmorph.reproduce.rows import Published, Row, Study
from netmorph.train.recipe import Recipe

PREFACE = """\
The tutorial's networks, hyper-parameters and data: all published training images (or 160 of them, 16 a class, drawn by
the seed), and, as there, the published *test* images as validation images, the best epoch counting. Its accuracies are
those of one run. MNIST is normalized by the tutorial's 0.1307 and 0.3081; CIFAR-10 images are padded by 4, cropped and
flipped at random, and not normalized. Seconds include validation."""


LENET_MNIST = Published(0.9830, 5, "1 min 29 s")
VGG_MNIST = Published(0.9863, 5, "3 min 10 s")
LENET_160 = Published(0.8346, 100, "3 min 10 s")
VGG_160 = Published(0.8202, 100, "5 min 38 s")
LENET_SLOW = Published(0.2898, 25, "7 min 26 s")
LENET_SGD = Published(0.6787, 25, "7 min 17 s")
LENET_ADAM = Published(0.6688, 25, "7 min 30 s")
VGG_SGD = Published(0.7662, 25, "15 min 19 s")
VGG_ADAM = Published(0.7486, 25, "15 min 37 s")
RESNET_ADAM = Published(0.8566, 25, "103 min 30 s")


def _mnist(network: str, published: Published, recipe: Recipe, suffix: str = "", train_size: int | None = None) -> Row:
    some = "" if train_size is None else f"-{train_size}"
    return Row(f"mnist{some}-{network}{suffix}", "mnist", network, recipe, published, train_size, (0.1307, 0.3081))


def _cifar10(network: str, published: Published, recipe: Recipe, suffix: str, seeds: int = 3) -> Row:
    return Row(f"cifar10-{network}{suffix}", "cifar10", network, recipe, published, None, (0.0, 1.0), seeds)


def _as_published(
    epochs: int, batch_size: int, rate: float, momentum: float | None, *, crop: bool, bf16: bool
) -> Recipe:
    """A constant rate, no weight decay; SGD with plain momentum, or Adam where there is no momentum.

    The layout and the number format change the speed and the rounding, not the method.
    """
    return Recipe(
        epochs=epochs,
        batch_size=batch_size,
        optimizer="adam" if momentum is None else "sgd",
        learning_rate=rate,
        momentum=momentum or 0.0,
        nesterov=False,
        weight_decay=0,
        schedule="constant",
        pad=4 if crop else 0,
        flip=crop,
        bf16=bf16,
        channels_last=True,
    )


REPRODUCED = (
    _mnist("lenet5", LENET_MNIST, _as_published(5, 64, 0.01, 0.5, crop=False, bf16=False)),
    _mnist("minivgg", VGG_MNIST, _as_published(5, 64, 0.01, 0.5, crop=False, bf16=True)),
    _mnist("lenet5", LENET_160, _as_published(100, 16, 0.01, 0.5, crop=False, bf16=False), train_size=160),
    _mnist("minivgg", VGG_160, _as_published(100, 16, 0.01, 0.5, crop=False, bf16=True), train_size=160),
    _cifar10("lenet5", LENET_SLOW, _as_published(25, 100, 0.001, 0.5, crop=True, bf16=False), "-sgd-0.001"),
    _cifar10("lenet5", LENET_SGD, _as_published(25, 100, 0.01, 0.9, crop=True, bf16=False), "-sgd-0.01"),
    _cifar10("lenet5", LENET_ADAM, _as_published(25, 100, 0.001, None, crop=True, bf16=False), "-adam"),
    _cifar10("minivgg", VGG_SGD, _as_published(25, 100, 0.01, 0.9, crop=True, bf16=True), "-sgd-0.01"),
    _cifar10("minivgg", VGG_ADAM, _as_published(25, 100, 0.001, None, crop=True, bf16=True), "-adam"),
    _cifar10("resnet", RESNET_ADAM, _as_published(25, 100, 0.001, None, crop=True, bf16=True), "-adam", seeds=1),
)


def _better(epochs: int, batch_size: int, *, pad: int, bf16: bool) -> Recipe:
    """SGD with Nesterov momentum and weight decay; the rate rises for a fifth of the run, then falls to zero."""
    return Recipe(
        epochs=epochs,
        batch_size=batch_size,
        optimizer="sgd",
        learning_rate=0.05,
        weight_decay=5e-4,
        schedule="linear",
        warmup=0.2,
        pad=pad,
        bf16=bf16,
        channels_last=True,
    )


def _orthogonal(epochs: int, rate: float, *, bf16: bool) -> Recipe:
    """Muon; the rate rises for a tenth of the run, then falls to zero."""
    return Recipe(
        epochs=epochs,
        batch_size=50,
        optimizer="muon",
        learning_rate=rate,
        momentum=0.9,
        weight_decay=0.02,
        schedule="linear",
        warmup=0.1,
        pad=4,
        flip=True,
        bf16=bf16,
        channels_last=True,
    )


def _residual(epochs: int, *, warmup: float, pad: int, first_size: float) -> Recipe:
    """The same with larger batches and weight decay, soft labels, narrow mirrored crops, and small images first."""
    return replace(
        _orthogonal(epochs, 0.02, bf16=True),
        batch_size=100,
        weight_decay=0.05,
        label_smoothing=0.1,
        warmup=warmup,
        pad=pad,
        reflect=True,
        first_size=first_size,
        views=6,
    )


IMPROVED = (
    _mnist("lenet5", LENET_MNIST, _better(2, 64, pad=0, bf16=False), "-2-epochs"),
    _mnist("lenet5", LENET_MNIST, _better(5, 64, pad=2, bf16=False), "-5-epochs"),
    _mnist("minivgg", VGG_MNIST, _better(2, 64, pad=0, bf16=True), "-2-epochs"),
    _mnist("minivgg", VGG_MNIST, _better(5, 64, pad=2, bf16=True), "-5-epochs"),
    _mnist("lenet5", LENET_160, _better(50, 16, pad=2, bf16=False), "-50-epochs", train_size=160),
    _mnist("minivgg", VGG_160, _better(50, 16, pad=2, bf16=True), "-50-epochs", train_size=160),
    _cifar10("lenet5", LENET_SGD, _orthogonal(12, 0.004, bf16=False), "-12-epochs"),
    _cifar10("minivgg", VGG_SGD, _orthogonal(12, 0.004, bf16=True), "-12-epochs"),
    _cifar10("resnet", RESNET_ADAM, _residual(10, warmup=0.1, pad=2, first_size=0.75), "-10-epochs"),
    _cifar10("resnet", RESNET_ADAM, _residual(7, warmup=0.05, pad=1, first_size=0.5), "-7-epochs"),
)

CNN_TUTORIAL = Study("cnn-tutorial", "A CNN tutorial's table", PREFACE, REPRODUCED, IMPROVED)
