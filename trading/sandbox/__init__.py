"""A whole Solana and Jupiter on one machine, so that the production adapters run unchanged against a base URL.

`main.Sandbox` puts Solana's JSON-RPC, Jupiter's HTTP and a page of candles in front of `solders.litesvm`, the
real virtual machine. The sandbox knows nothing of the company: it has no model, no database, and nothing in
trading imports it. So it is the judge of what happened, independent of what the company believes.

    prices → pools → desk ─┐                     what a swap gives, and its transaction
    bank → chain → views ──┴→ rpc, jupiter → server
    journal (chain, prices)                      what a restart, also after kill -9, goes on from
    faults                                       what goes wrong, on demand or by schedule
"""
