"""A site's data: shards (build, check, unpack), the manifest, paths into a shard, splits, dataset adapters.

Imports the standard library, numpy, torch, torchvision, Pillow and filelock, from rt_flare only the error tree and
``core.durable_io``; never nvflare. Modules that need no torch import none.
"""
