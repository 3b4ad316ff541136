"""The offline check: what is wrong with a module, a project, shards or a job, before the first byte is uploaded.

One module per kind of check, each of functions that yield findings; `offline_check` puts them together. The user's code
runs in a child process only (`trial`). May import what `rt_flare.jobs` may.
"""
