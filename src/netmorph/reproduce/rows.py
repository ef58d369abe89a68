"""What a published table says, as values."""

from dataclasses import dataclass

from netmorph.errors import NetmorphError, suggest
from netmorph.train.recipe import Recipe


@dataclass(frozen=True)
class Published:
    """A figure to stand beside ours.

    Attributes:
        accuracy: best validation accuracy over the epochs, 0 to 1.
        epochs: how many it took.
        time: as it was published, on the machine it was published for.
    """

    accuracy: float
    epochs: int
    time: str


@dataclass(frozen=True)
class Row:
    """One training run of a table.

    Attributes:
        name: what the command line calls it.
        data: name of the data set.
        network: name in `netmorph.zoo`.
        recipe: how it is trained.
        published: the figure to reproduce or to beat.
        train_size: use so many training images, evenly over the classes; None uses all.
        normalize: mean and standard deviation of the pixels, in 0..1; None measures them.
        seeds: run it with the seeds 0, 1, ... below this.
    """

    name: str
    data: str
    network: str
    recipe: Recipe
    published: Published
    train_size: int | None = None
    normalize: tuple[float, float] | None = None
    seeds: int = 3


@dataclass(frozen=True)
class Study:
    """A published table.

    Attributes:
        name: what the command line calls it.
        title: what the page calls it.
        preface: what readers must know to compare (Markdown).
        reproduced: its rows, with the hyper-parameters that were published.
        improved: the same networks with better recipes in at most half the epochs.
    """

    name: str
    title: str
    preface: str
    reproduced: tuple[Row, ...]
    improved: tuple[Row, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows."""
        return self.reproduced + self.improved

    def pick(self, names: list[str]) -> tuple[Row, ...]:
        """The rows of these names, in the table's order; none given are all.

        Raises:
            NetmorphError: there is no such row.
        """
        known = [row.name for row in self.rows]
        for name in names:
            if name not in known:
                raise NetmorphError(
                    f"{self.name} has no row {name!r}{suggest(name, known)}; rows are {', '.join(known)}"
                )
        return tuple(row for row in self.rows if not names or row.name in names)
