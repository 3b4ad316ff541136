"""Jobs of the published SDK, resontech 0.3: read as data, and written as a project of rt_flare with what changed.

Nothing of such a job is run or unpickled here. Imports what `rt_flare.jobs` may import.
"""
