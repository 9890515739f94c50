"""The sample organisation: an invented firm to try Ubiety with, and people in it who answer."""
