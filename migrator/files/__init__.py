"""SQL files, read without a server: statements, migrations, and what is wrong with them."""
