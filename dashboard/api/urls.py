"""The addresses of version 1, to be included at `api/v1/`."""

from django.urls import URLPattern, URLResolver, path, re_path, register_converter

from dashboard.api import (
    agents,
    company,
    conversations,
    events,
    findings,
    missions,
    proposals,
    provenance,
    tokens,
    trading,
)
from dashboard.api.endpoint import Nothing

ID_MAX = 2**63 - 1


class IdConverter:
    """A row's id. What can't be one is no address."""

    regex = "[0-9]{1,19}"

    def to_python(self, value: str) -> int:
        number = int(value)
        if number > ID_MAX:
            raise ValueError
        return number

    def to_url(self, value: int) -> str:
        return str(value)


class KeyConverter:
    """A key of ours, such as an agent's or a policy's."""

    regex = "[a-z][a-z0-9_]{0,59}"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


class PairConverter:
    """Two agents, such as atlas-sage."""

    regex = "[a-z]{2,20}-[a-z]{2,20}"

    def to_python(self, value: str) -> tuple[str, str]:
        one, _, other = value.partition("-")
        return one, other

    def to_url(self, value: tuple[str, str]) -> str:
        return "-".join(value)


register_converter(IdConverter, "row_id")
register_converter(KeyConverter, "key")
register_converter(PairConverter, "pair")

urlpatterns: list[URLPattern | URLResolver] = [
    path("agents/", agents.Agents.as_view()),
    path("agents/<key:key>/", agents.OneAgent.as_view()),
    path("agents/<key:key>/memories/", agents.Memories.as_view()),
    path("agents/<key:key>/track-record/", agents.TrackRecord.as_view()),
    path("relationships/", agents.Relationships.as_view()),
    path("relationships/<pair:pair>/", agents.OnePair.as_view()),
    path("conversations/", conversations.Conversations.as_view()),
    path("conversations/<row_id:id>/", conversations.OneConversation.as_view()),
    path("proposals/", proposals.Proposals.as_view()),
    path("proposals/<row_id:id>/", proposals.OneProposal.as_view()),
    path("proposals/<row_id:id>/approve/", proposals.Approve.as_view()),
    path("proposals/<row_id:id>/reject/", proposals.Reject.as_view()),
    path("proposals/<row_id:id>/cancel/", proposals.Cancel.as_view()),
    path("proposals/<row_id:id>/provenance/", provenance.ProposalProvenance.as_view()),
    path("provenance/", provenance.Provenance.as_view()),
    path("missions/", missions.Missions.as_view()),
    path("missions/<row_id:id>/", missions.OneMission.as_view()),
    path("missions/<row_id:id>/cancel/", missions.CancelMission.as_view()),
    path("steps/", missions.Steps.as_view()),
    path("steps/<row_id:id>/", missions.OneStep.as_view()),
    path("steps/<row_id:id>/reconcile/", findings.ReconcileStep.as_view()),
    path("findings/", findings.Findings.as_view()),
    path("findings/<row_id:id>/settle/", findings.OneFindingSettled.as_view()),
    path("policies/", company.Policies.as_view()),
    path("policies/<key:key>/versions/", company.PolicyVersions.as_view()),
    path("caps/", company.Caps.as_view()),
    path("orders/", trading.Orders.as_view()),
    path("orders/<row_id:id>/", trading.OneOrder.as_view()),
    path("positions/", trading.Positions.as_view()),
    path("positions/<row_id:id>/", trading.OnePosition.as_view()),
    path("portfolio/", trading.PortfolioNow.as_view()),
    path("equity/", trading.Equity.as_view()),
    path("prices/", trading.Prices.as_view()),
    path("events/", events.Events.as_view()),
    path("heartbeats/", events.Heartbeats.as_view()),
    path("stats/", events.Stats.as_view()),
    path("company/", company.CompanyNow.as_view()),
    path("company/halt/", company.Halt.as_view()),
    path("company/reduce/", company.Reduce.as_view()),
    path("company/resume/", company.Resume.as_view()),
    path("tokens/", tokens.Tokens.as_view()),
    path("tokens/<row_id:id>/", tokens.OneToken.as_view()),
    # without this, APPEND_SLASH would turn a POST to an address without its slash into a GET
    re_path(r"^", Nothing.as_view()),
]
