raise SystemExit("ood.py has moved; the same arguments now go to: python -m tools.thresholds")
