"""The quickstart: scanned digits, a small network, three sites. ``model_def.py`` here is what a user copies.

May import everything below the command line.
"""
