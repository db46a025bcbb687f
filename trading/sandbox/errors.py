"""What the sandbox refuses to its own operator; what it answers to clients is `rpc`'s and `jupiter`'s affair."""


class SandboxError(Exception):
    """The sandbox can't do what its operator asked; the message says why."""


class NotReorganisable(SandboxError):
    """The transaction isn't there, is finalized, or landed before this process began."""


class SourceChanged(SandboxError):
    """This folder's prices came from another source."""


class UnknownMarket(SandboxError):
    """There is no market of that name."""


class BadFault(SandboxError):
    """There is no such fault, or its parameters make no sense."""
