"""Errors that a user can fix, as opposed to bugs in the program."""


class SettingError(ValueError):
    """A setting that cannot work; the message is one line and says what to change."""


class RunError(RuntimeError):
    """A run that cannot continue; the message is one line with the reason and what to do."""


def in_one_line(error: BaseException) -> str:
    """An error in one line, with the file and the line of code that raised it.

    The messages of errors for users (`SettingError`, `RunError`) are complete and remain unchanged.
    """
    import traceback
    from pathlib import Path

    if isinstance(error, SettingError | RunError):
        return str(error)

    words = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".removesuffix(": ")
    frames = traceback.extract_tb(error.__traceback__)
    places = [(frame.filename, frame.lineno) for frame in frames if not frame.filename.startswith("<")]
    if isinstance(error, SyntaxError) and error.filename:
        # The message of a syntax error already contains the line.
        return words
    return f"{words} ({Path(places[-1][0]).name}, line {places[-1][1]})" if places else words


def how_to_install(package: str) -> str:
    """The command that installs a missing package, from hgpo's own metadata.

    Args:
        package: the package's name on the package index or in an import.
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
