"""What the company's machinery does in a second, beside what PostgreSQL itself does on the same machine.

Each module but the helpers is one measurement: `measure(stage) -> list[Figure]`. A figure is never judged by
itself: its limit is measured in the same run, in turn with it, and the goals are mostly ratios. Nothing here is
imported by the company.
"""
