"""The advice for a missing package follows the package's metadata, whatever they contain."""

from __future__ import annotations

import importlib.metadata

import pytest

from hgpo.errors import how_to_install

REQUIREMENTS = [
    "numpy>=1.26",
    "tyro<1.1,>=1.0.16; extra == 'tools'",
    "tyro<1.1,>=1.0.16; extra == 'train'",
    'torch>=2.4 ; extra == "train"',
    "TransferQueue>=0.1.10; extra == 'cluster-2'",
    "en-core-web-sm>=3; extra == 'words'",
]


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("torch", "pip install 'hgpo[train]'"),
        # Two extras bring it: tools brings nothing else.
        ("tyro", "pip install 'hgpo[tools]'"),
        # Names of modules and of distributions differ in case and in marks.
        ("transfer_queue", "pip install 'hgpo[cluster-2]'"),
        ("en_core_web_sm", "pip install 'hgpo[words]'"),
        # The beginning of a name is not the name.
        ("tor", "install the package that has tor"),
    ],
)
def test_the_extra_is_read_from_the_metadata(package, line, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: REQUIREMENTS)
    assert how_to_install(package) == line


def test_a_package_that_is_not_installed_itself_has_no_metadata(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    assert how_to_install("torch") == "install the package that has torch"
