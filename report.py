raise SystemExit("report.py has moved; the same arguments now go to: python -m tools.report")
