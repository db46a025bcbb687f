"""Jupiter's one base URL, where swaps, prices and tokens are asked for: the key, and what its error codes mean."""

from trading.venues.http import Guard, HttpClient, Patience

REFUSALS = {
    "NO_ROUTES_FOUND": "no_route",
    "COULD_NOT_FIND_ANY_ROUTE": "no_route",
    "ROUTE_PLAN_DOES_NOT_CONSUME_ALL_THE_AMOUNT": "no_route",
    "TOKEN_NOT_TRADABLE": "token_not_tradable",  # an error code  # nosec B105
    "MARKET_NOT_FOUND": "market_not_found",
    "CIRCULAR_ARBITRAGE_IS_DISABLED": "same_mint",
}


class JupiterApi:
    """One part of it.

    Args:
        api_key: sent as `x-api-key`; empty for the endpoints that need none.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str = "",
        timeout_seconds: tuple[float, float] = (2, 8),
        guard: Guard | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._http = HttpClient(
            base_url,
            headers={"x-api-key": api_key} if api_key else None,
            timeout_seconds=timeout_seconds,
            guard=guard,
            refusals=REFUSALS,
            patience=patience,
        )
        self.name = self._http.name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"
