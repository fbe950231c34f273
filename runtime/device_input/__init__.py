"""Network inputs made on the device: a frame's stored values are uploaded once.

Bit for bit those of `spinert.runtime.preprocess`. The device counts the values, the
host builds the lookup table from the counts, and every network's input is made where
its engine reads it.

    uploads.py   stored values -> counts -> table: an image on the device
    resizing.py  images -> the slots of a batch
    weights.py   Pillow's filter as integers
    memory.py    memory of images, taken again instead of given back
    kernels.py   the compiled programs
"""
