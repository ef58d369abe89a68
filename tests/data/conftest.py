from pathlib import Path

import pytest
from written import write_class_folders


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Ten 6x5 colour images each of cats and dogs, in class folders."""
    write_class_folders(tmp_path / "pictures", ("cat", "dog"), 10, 6, 5, 3)
    return tmp_path / "pictures"
