raise SystemExit("speed.py has moved; the same arguments now go to: python -m tools.speed")
