"""What Pillow leaves to do for picture files: 16 bits, profiles, strictness, notes. `cvtool.images` is the door."""
