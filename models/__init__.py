"""The parts of the HOSER student; `hoser.py` assembles them."""
