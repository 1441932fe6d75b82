"""Errors that a user can fix, as opposed to bugs in the program."""


class SettingError(ValueError):
    """A setting that cannot work; the message is one line and says what to change."""


class RunError(RuntimeError):
    """A run that cannot continue; the message is one line with the reason and what to do."""


def how_to_install(package: str) -> str:
    """The command that installs a missing package, from hgpo's own metadata.

    Args:
        package: its name on the package index or in an import.
    """
    import re
    from importlib.metadata import PackageNotFoundError, requires

    def plain(name: str) -> str:
        return re.sub(r"[-_.]", "", name).lower()

    try:
        requirements = requires("hgpo") or []
    except PackageNotFoundError:
        requirements = []
    needed: dict[str, set[str]] = {}
    for requirement in requirements:
        found = re.match(r"([\w.-]+).*;\s*extra\s*==\s*['\"]([\w-]+)", requirement)
        if found:
            needed.setdefault(found[2], set()).add(plain(found[1]))
    # If several extras contain the package, the smallest one is used.
    extras = sorted((len(names), extra) for extra, names in needed.items() if plain(package) in names)
    return f"pip install 'hgpo[{extras[0][1]}]'" if extras else f"install the package that has {package}"
