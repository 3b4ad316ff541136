"""Pure federated logic: contracts, gates, the weighted mean, round records, durable files, the training worker.

Imports the standard library, pydantic, numpy, torch and orjson only; never nvflare. Every NVFlare component is a
thin shell over what stands here.
"""
