"""What `deploy.py` does: `release` (what is deployed), `stack` (create, update, delete)."""
