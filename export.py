raise SystemExit("export.py has moved; the same arguments now go to: python -m tools.export")
