"""Commands beside the main ones, each run as `python -m tools.NAME`; nothing at the top level imports them."""
