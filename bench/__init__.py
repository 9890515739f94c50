"""Side-by-side measurements of Ubiety, Prosody and ejabberd on one machine (run `python -m bench`)."""
