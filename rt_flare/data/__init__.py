"""A site's data: shards (build, check, upload, fetch, unpack), storages, the manifest, dataset adapters.

Imports the standard library, numpy, torch, torchvision, Pillow, fsspec, filelock and pydantic, from rt_flare only the
error tree and ``core.durable_io``; never nvflare. Modules that need no torch import none.
"""
