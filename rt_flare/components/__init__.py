"""NVFlare components: thin shells over `rt_flare.core` and `rt_flare.data`.

The dotted paths of the classes here are public: people write them into job configurations. Constructors store every
argument unchanged under its own name, because NVFlare's job export reads the attributes back.
"""
