"""The flow, in words.

A **proposal** enters by one door (`proposals.submit`), whoever hands it in: a trigger, a reaction, a conversation, a
person in the admin, a program by the API, a stop that was hit. Its **draft** fits one schema (`drafts`). The
**gates** judge it by named facts, each with a stored **verdict**; a refusal is a stored decision with a code.

**Policy** (`policies`) says who decides: work that risks nothing is approved, trades are voted on, large ones wait for
people. **Approval** is one transaction: gates again on fresh facts, mission and steps (`planning`), reservations by
the handlers, **caps** spent.

**Steps are the queue.** Workers claim them under a lease with a token (`claims`), run their kind's handler
(`handlers`, `execution`), and end them by `outcomes`, always fenced by the token: done, failed, again later, or in
doubt, which a person settles. What a dead worker held is taken back (`rescue`).

The **heartbeat** fires triggers, rescues, marks, measures, expires and prunes, one beat at a time. What happened is
in the event log, written in the transaction in which it happened.
"""
