"""The one error a user sees: what happened, and what to do about it. It knows nothing of consoles or exit codes."""


class AffectError(Exception):
    """A problem the user can act on.

    `message` says in one line what is wrong, `cure` what would have worked ("" when nothing would),
    `code` is a short stable word for programs (`not_found`, `not_media`, `bad_bundle`, ...).
    """

    def __init__(self, message: str, cure: str = "", code: str = "error") -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure
        self.code = code

    def __str__(self) -> str:
        return f"{self.message} ({self.cure})" if self.cure else self.message
