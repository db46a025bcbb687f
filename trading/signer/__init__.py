"""The signer: the one process that holds the key, and what others need to ask it.

It has no database and knows nothing of orders. Whoever asks says what a transaction is for (an intent); the
signer reads the transaction itself, proves its effect by simulation, keeps its own spend cap, and only then
signs. Web and workers import `client` alone.
"""
