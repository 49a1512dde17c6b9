"""The order of layers, one file each; `gateway/build.py` says which stands where."""
