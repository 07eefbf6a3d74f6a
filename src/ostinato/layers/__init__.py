"""What a user holds: layers, streams, networks; saved, converted, measured."""
