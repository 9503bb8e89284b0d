"""What spectraldyn says to its users when something they gave it cannot be right."""


class InputError(ValueError):
    """A fault in what the user gave: a file, a frame, an option.

    The message is one sentence that names the file, frame or option, what was received and what to do.
    The command line prints it without a traceback and exits with code 2.
    """


class InputWarning(UserWarning):
    """Something in the input that the user should know about, though the run goes on."""
