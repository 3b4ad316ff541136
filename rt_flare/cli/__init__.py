"""The command line ``rt-flare``: arguments in, text or one JSON document out.

May import everything below it, but inside functions: ``rt-flare --help`` loads neither PyTorch nor NVFlare.
"""
