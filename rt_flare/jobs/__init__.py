"""Jobs: templates and rendering, running them (simulator, processes on one machine), and their results.

May import everything below it (core, data, the catalog, components) and nvflare; never the command line.
"""
