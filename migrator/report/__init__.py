"""Words for people and programs; nothing here prints."""
