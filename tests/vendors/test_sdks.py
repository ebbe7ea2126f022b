"""Every description that names a package of its vendor's says what that package says, in the pinned version.

The packages are read from ``RECEIVER_VENDORS``, a folder into which they were installed (``.ci/run`` does so: from the
extra ``vendors``, and those of npm into the folder ``npm`` in it), and only there all of them are there. Without it
those are compared that happen to be installed.
"""

import os
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from receiver.catalog import _packaged
from receiver.core.description.provider import Provider
from receiver.core.description.sdk import Sdk
from receiver.watch import compare

FOLDER = Path(os.environ["RECEIVER_VENDORS"]) if "RECEIVER_VENDORS" in os.environ else None
PROVIDERS = sorted(_packaged().values(), key=lambda one: one.name)
COMPARED = [(one, sdk) for one in PROVIDERS for sdk in one.sdk]
PYPROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
PINS = dict(pin.split("==") for pin in PYPROJECT["project"]["optional-dependencies"]["vendors"])

#: Where a version of a package is shown.
PAGES = {
    "pypi": "https://pypi.org/project/{sdk.package}/{sdk.version}/",
    "npm": "https://www.npmjs.com/package/{sdk.package}/v/{sdk.version}",
}


@pytest.mark.parametrize(
    ("provider", "sdk"), COMPARED, ids=lambda one: getattr(one, "package", "") or one.name
)
def test_a_description_says_what_the_package_says(provider: Provider, sdk: Sdk) -> None:
    """No word of the package is unknown to the description, and each of its addresses is one of the package's paths."""
    if sdk.registry == "npm":
        if FOLDER is None or not (FOLDER / "npm").is_dir():
            pytest.skip(f"{sdk.package} {sdk.version} of npm was not fetched (RECEIVER_VENDORS)")
    elif FOLDER is None:
        try:
            installed = version(sdk.package)
        except PackageNotFoundError:
            installed = "none"
        if installed != sdk.version:
            pytest.skip(f"{sdk.package} {sdk.version} is not installed (RECEIVER_VENDORS)")
    found = compare(provider, sdk, folder=FOLDER)
    assert found.version == sdk.version
    assert found.problems == ()


def test_the_pinned_versions_are_those_that_were_read() -> None:
    """The extra has exactly the packages that descriptions name, in the versions that their sources cite."""
    named = {sdk.package: sdk.version for _, sdk in COMPARED if sdk.registry == "pypi"}
    assert named == PINS
    for provider, sdk in COMPARED:
        cited = [one.url for one in provider.sources]
        assert PAGES[sdk.registry].format(sdk=sdk) in cited, f"{provider.name} does not cite {sdk.package}"
