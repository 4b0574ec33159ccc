"""What is raised for bad input, and how an exception is said in one line."""


class InputError(ValueError):
    """A value that the user gave and that cannot be used; the message names the value and the rule."""


class WriteError(OSError):
    """A file that the disk did not take, being full; the message names it, and what is safe where `kept` says it."""

    def __init__(self, message: str, kept: str = ""):
        super().__init__(f"{message}; {kept}" if kept else message)
        self.kept = kept


def check_text(name: str, text: str) -> None:
    """Raises InputError for a text that is none in UTF-8: bytes of another encoding on the command line."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{name} is no text in UTF-8: its character {error.start + 1} cannot be read") from None


def one_line(error: BaseException) -> str:
    """The whole message, line breaks as spaces; the exception's name where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def first_sentence(error: BaseException) -> str:
    """The first sentence of another library's message, at most 160 characters."""
    return one_line(error).split(". ")[0][:160]
