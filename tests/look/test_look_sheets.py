import io
import json
import xml.etree.ElementTree as ElementTree

import pytest
import torch

from netmorph import look
from netmorph.look import LookError
from netmorph.look.palette import png

FILTERS = torch.randn(3, 1, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_is_read_by_others(channels):
    pixels = torch.randint(256, (5, 7, channels), dtype=torch.uint8).expand(5, 7, 3)
    image = pytest.importorskip("PIL.Image").open(io.BytesIO(png(pixels)))

    assert image.mode == ("L" if channels == 1 else "RGB")
    assert list(image.convert("RGB").tobytes()) == pixels.flatten().tolist()


def test_colours_of_numbers():
    grey = look.signed(torch.tensor([[[-2.0, 0.0, 2.0]]]))
    assert grey[0, :, 0].tolist() == [0, 128, 255]
    assert look.signed(torch.ones(2, 4, 5)).shape == (4, 10, 3)
    assert look.signed(torch.zeros(3, 2, 2)).unique().tolist() == [128]
    assert look.shades(torch.tensor([[[0.0, 1.0]]]))[0, :, 0].tolist() == [0, 255]
    brightness = look.heat(torch.linspace(0, 1, 9)[None]).double().mean(2)[0]
    assert (brightness.diff() > 0).all()


def test_a_sheet_in_all_its_forms(tmp_path):
    sheet = look.filter_sheet(FILTERS[:2], "conv1", after=FILTERS)
    drawn = ElementTree.fromstring(sheet.svg())

    assert sheet.save(tmp_path / "f.svg") == tmp_path / "f.svg"
    told = json.loads((tmp_path / "f.json").read_text())
    assert [len(row["pictures"]) for row in told["rows"]] == [2, 3]
    assert told["rows"][1]["pictures"][1]["cosine"] == pytest.approx(1)
    assert told["rows"][1]["pictures"][2]["kind"] == "new"
    assert len(drawn.findall("{*}image")) == 5
    assert "conv1" in drawn.find("{*}title").text
    page = sheet.html()
    assert page.count("<tr>") == 6
    with pytest.raises(LookError, match=r"got '\.png'"):
        sheet.save(tmp_path / "f.png")


def test_maps_tell_how_alike_they_are():
    images, maps = torch.rand(2, 3, 4, 4), torch.rand(2, 4, 4)
    sheet = look.saliency_sheet(images, {"before": maps, "after": maps * 2}, "s", names=["cat", "dog"])

    assert sheet.rows[2].panels[0].numbers["alike"] == pytest.approx(1)
    assert [row[0].partition("\n")[0] for row in sheet.table()[1:]] == ["image"] * 2 + ["before"] * 2 + ["after"] * 2


def test_what_excites_classes_and_weights_as_matrices():
    found = look.Excited(torch.rand(2, 1, 4, 4), torch.tensor([1.5, 2.0]))

    assert "cat 1.5; dog 2.0" in look.excited_sheet({"net": found}, "e", ["cat", "dog"]).text().replace("\n", " ")
    assert (
        look.matrix_sheet({"before": torch.rand(4, 9)}, "m").as_json()["rows"][0]["pictures"][0]["caption"] == "before"
    )
