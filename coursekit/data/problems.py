"""Why data cannot be had, and what would help, in words that fit into one line."""


class PlaceError(Exception):
    """A place cannot give the data: its text says why, `remedy` what to do ("": nothing), as parts of a sentence."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.remedy = remedy


class NotFoundError(FileNotFoundError):
    """A data set is in none of the places: `reason` says why, `remedy` what to do about it."""

    def __init__(self, name: str, reason: str, remedy: str) -> None:
        super().__init__(f"{name} is in none of the places searched: {reason}. To get it, {remedy}")
        self.reason, self.remedy = reason, remedy
