"""Where a refresh token is used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "b3e07d52c6a1"
down_revision = "4f1a9c20d7be"


def upgrade() -> None:
    op.add_column("refresh_tokens", sa.Column("device_info", sa.String(255)))
