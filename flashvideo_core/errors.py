"""What is raised for bad input. Everything else that is raised is a bug, or the machine's."""


class InputError(ValueError):
    """A value that the user gave and that cannot be used; the message names the value and the rule."""
