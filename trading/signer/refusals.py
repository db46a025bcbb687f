"""How the signer says no: a stable code, and a sentence for a person. Nothing was signed."""


class Refusal(Exception):
    """Raised inside the signer's process; it crosses the socket as `code` and `reason`."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
