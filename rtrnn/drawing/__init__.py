"""A network as a picture, in text or as a figure: its blocks, their sizes, and what share of a step each takes."""

from rtrnn.drawing.blocks import Block, Picture, picture
from rtrnn.drawing.text import table

__all__ = ["Block", "Picture", "picture", "table"]
