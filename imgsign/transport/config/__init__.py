"""Configuration files of other programs, read as those programs read them; only ``imgsign login`` writes one.

Each module is one kind of file and cites the program it belongs to.
"""
