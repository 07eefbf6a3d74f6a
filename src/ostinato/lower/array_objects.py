"""Where the object of a NumPy array keeps what.

An array's object begins with the header of every Python object, which is followed by the structure PyArrayObject_fields, a part
of NumPy's binary interface: the address of the data, the number of dimensions, and the addresses of the shape and of the
strides, 8 bytes each. Machine code that is given objects reads there what Python would have to ask array by array. Whether
this Python and this NumPy keep it so is tried before it is relied on (native/memory.py, native/samples.py).
"""

HEADER = object.__basicsize__  # bytes; 16 in CPython
DATA_WORD, STRIDES_WORD = 0, 3  # behind the header, in words of 8 bytes: pointers to the data and to the strides, in bytes
