"""Everything that the models have."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from alembic import op

revision = "4f1a9c20d7be"
down_revision = None


def upgrade() -> None:
    path = Path(__file__).parents[1] / "models.py"
    spec = importlib.util.spec_from_file_location("models", path)
    assert spec
    assert spec.loader
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    models.metadata.create_all(op.get_bind())
