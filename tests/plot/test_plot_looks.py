"""Lines can be told apart by readers of any colour vision, in grey, and on white paper: computed."""

from itertools import combinations

import numpy as np
import pytest

from netmorph.plot.looks import COLOURS, look

# Machado, Oliveira & Fernandes (2009), severity 1, of linear sRGB.
VISIONS = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour):
    """sRGB -> its linear parts, by the definition of the standard."""
    parts = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    """The ratio of WCAG 2."""
    high, low = sorted((TO_XYZ[1] @ linear(one), TO_XYZ[1] @ linear(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def lab(parts):
    """CIE L*a*b*, in which a distance of about 2 can just be seen."""
    ratios = TO_XYZ @ np.clip(parts, 0, 1) / TO_XYZ.sum(axis=1)
    roots = np.where(ratios > 0.008856, np.cbrt(ratios), 7.787 * ratios + 16 / 116)
    return np.array([116 * roots[1] - 16, 500 * (roots[0] - roots[1]), 200 * (roots[1] - roots[2])])


def test_contrast_with_paper_and_with_each_other_in_grey():
    assert min(contrast(colour, "#ffffff") for colour in COLOURS) >= 3
    assert min(contrast(*pair) for pair in combinations(COLOURS, 2)) >= 1.3
    assert min(contrast(*pair) for pair in combinations(COLOURS[:3], 2)) >= 1.8, "few lines differ more"


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_differ_for_every_vision(vision):
    seen = [lab(np.asarray(VISIONS[vision]) @ linear(colour)) for colour in COLOURS]

    assert min(np.linalg.norm(one - other) for one, other in combinations(seen, 2)) > 20


def test_no_two_of_many_lines_look_alike_and_neighbours_differ_in_everything():
    looks = [look(number) for number in range(36)]

    assert len(set(looks)) == 36
    for one, other in combinations(looks[:6], 2):
        assert one.colour != other.colour
        assert one.dash != other.dash
        assert one.marker != other.marker
