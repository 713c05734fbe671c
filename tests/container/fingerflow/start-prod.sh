#!/bin/sh
# As FingerFlow's: the migrations first, then four workers.
set -e
python migrate.py
exec uvicorn main:app --host 0.0.0.0 --port 8000 --workers 4
