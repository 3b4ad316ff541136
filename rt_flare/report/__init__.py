"""A run on one page: read from what it left behind, rendered as HTML that needs nothing else, or as Markdown.

Imports everything below it; never NVFlare.
"""
