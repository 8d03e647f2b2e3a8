raise SystemExit("crossvalidate.py has moved; the same arguments now go to: python -m tools.crossvalidate")
