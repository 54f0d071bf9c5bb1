"""The one error that a person gets to see."""


class DeployError(Exception):
    """The deployment cannot go on; the message says what a person must do."""
