"""How the company is wired: by these dotted paths lower layers find what upper ones bring. Read as settings."""

STEP_HANDLERS = {
    "analyze_signal": "trading.analysis.Analyze",
    "calculate_risk": "trading.analysis.AssessRisk",
    "monitor_position": "trading.analysis.Monitor",
    "execute_trade": "trading.execution.Trade",
    "close_position": "trading.execution.Close",
    "scale_position": "trading.execution.Scale",
    "reflect": "missions.mind.reflection.Reflect",
    "hold_roundtable": "roundtable.execution.Hold",
}
GATES = [
    "missions.gates.company_is_active",
    "missions.gates.kinds_belong_together",
    "missions.gates.confidence_suffices",
    "missions.gates.caps_are_left",
    "trading.gates.market_is_known_and_open",
    "trading.gates.nothing_is_in_doubt",
    "trading.gates.books_agree_with_the_chain",
    "trading.gates.fees_can_be_paid",
    "trading.gates.token_is_safe",
    "trading.gates.price_is_fresh",
    "trading.gates.slippage_is_bounded",
    "trading.gates.there_is_something_to_sell",
    "trading.gates.open_positions_are_left",
    "trading.gates.size_is_within_limits",
    "trading.gates.exposure_is_within_limits",
    "trading.gates.cash_suffices",
    "trading.gates.losses_halt_entries",
    "trading.gates.losers_are_not_enlarged",
]
FACTS = {
    "company": "missions.facts.company",
    "caps": "missions.facts.caps",
    "market": "trading.facts.market",
    "trade": "trading.facts.trade",
    "portfolio": "trading.facts.portfolio",
    "reconciliation": "trading.facts.reconciliation",
    "reserve": "trading.facts.reserve",
    "token": "trading.facts.token",  # a path  # nosec B105
    "signals": "trading.facts.signals",
    "worth": "trading.facts.worth",
    "prices": "trading.talk_facts.prices",
    "positions": "trading.talk_facts.held",
    "outlook": "trading.talk_facts.outlook",
    "outcomes": "missions.talk_facts.outcomes",
    "talked_of": "missions.talk_facts.talked_of",
}
TALKED_OF = {  # who tells of the row that a conversation is about
    "proposal": "missions.talk_facts.proposal",
    "mission": "missions.talk_facts.mission",
    "memory": "missions.talk_facts.memory",
    "position": "trading.talk_facts.position",
    "order": "trading.talk_facts.order",
    "conversation": "roundtable.talk_facts.conversation",
}
DECIDERS = {
    "execute_trade": "roundtable.votes.decide",
    "close_position": "roundtable.votes.decide",
    "scale_position": "roundtable.votes.decide",
}
ADMIN_PANELS = {  # what upper apps add to the pages of missions
    "missions.proposal": [
        "roundtable.admin_panels.votes_of_proposal",
        "roundtable.admin_panels.conversation_of_proposal",
        "dashboard.admin_panels.provenance_of_proposal",
    ],
    "missions.mission": ["trading.admin_panels.orders_of_mission"],
    "missions.step": ["trading.admin_panels.order_of_step"],
}
ADMIN_WAITING = {  # what upper apps add to the desk's first page, and who may see it
    "trading.view_finding": "trading.admin_panels.findings_that_wait",
}
VENUES = {  # by network
    "paper": "trading.venues.paper.PaperVenue",
    "sandbox": "trading.network.venue",
    "mainnet": "trading.network.venue",
}
FEEDS = {  # by network
    "paper": "trading.feeds.computed",
    "sandbox": "trading.feeds.served",
    "mainnet": "trading.feeds.polled",
}
REACTIVE_TRIGGERS = "trading.ideas.respond"
INITIATIVES = "trading.ideas.initiate"
HEARTBEAT = [  # (phase, what it runs, budget in ms, upper bound of rows it may touch)
    ("triggers", "missions.triggers.run", 4000, 20),
    ("reactions", "missions.mind.reactions.run", 3000, 10),
    ("initiative", "missions.mind.initiative.run", 1000, 6),
    ("promote", "missions.mind.promotion.run", 2000, 5),
    ("learn", "missions.mind.learning.run", 3000, 5),
    ("forecasts", "trading.forecasting.run", 1000, 20),
    ("rescue", "missions.rescue.run", 2000, 100),
    ("talks", "roundtable.schedule.run", 1000, 5),
    ("stale_talks", "roundtable.recovery.run", 1000, 100),
    ("votes", "missions.voting.escalate", 1000, 100),
    ("reconcile", "trading.reconciliation.run", 3000, 100),
    ("marks_and_stops", "trading.stops.run", 2000, 100),
    ("equity", "trading.portfolio.snapshot", 1000, 1),
    ("expire", "missions.proposals.expire", 1000, 200),
    ("prune", "missions.prune.run", 1000, 5000),
]
PRUNE = {
    "events": "tradeco.common.events.prune",
    "beats": "missions.heartbeat.prune",
    "prices": "trading.market.prune",
    "signals": "trading.analysis.prune",
    "pulses": "tradeco.common.pulses.prune",
    "reactions": "missions.mind.reactions.prune",
    "exchanges": "roundtable.prune.exchanges",
    "answers": "dashboard.api.idempotency.prune",
}
READINESS = {
    "worker": "missions.watch.worker_readiness",
    "beat": "missions.watch.beat_readiness",
    "market": "trading.market.readiness",
}
METRICS = ["tradeco.common.metrics.collect", "missions.metrics.collect", "trading.metrics.collect"]
