"""On how many networks the default settings work, judged by code that shares nothing with the library.

python -m benchmarks.coverage --output docs/results/coverage [--shard 0/4] [--only timm] [--names resnet]

subject           a network to try; one file for each library that has some (timm_networks, ...)
trial             explains it with default settings, and checks what can be checked
place             whether the positions of its map follow the picture
peers             whether other libraries give a map of it (`--peers`)
table             what is written and printed
"""
