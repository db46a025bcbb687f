"""The company's API, version 1: one module a subject, each with its shapes and its views.

What stands here is how the company is asked and answered. Every act is one call of a domain operation below;
nothing is decided here.
"""
