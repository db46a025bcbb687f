"""What debate and memory are worth: the same markets traded by companies that differ in nothing but policy.

`arms` says what is switched off in each. A child process (`child`) trades one market in a database of its own
(`scratch`), on a clock of its own (`clock`), through the company's own code (`simulation`), and reads its figures
(`figures`). `comparison` holds them side by side with intervals (`intervals`), `report` prints them, and
`trading.experiment` runs the whole. Nothing here touches the company's own database, network or keys.
"""
